"""How the world asks: agents, proxies, operators. Doors translate; they decide nothing."""
