"""Which proxy a configuration is for."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from watchword_server.inspection import caddy, envoy, haproxy, nginx, traefik
from watchword_server.inspection.findings import Finding
from watchword_server.inspection.marked import UnreadableError, read_marked

INSPECTORS: Final[Mapping[str, Callable[[Path], Iterator[Finding]]]] = {
    "nginx": nginx.inspect,
    "envoy": envoy.inspect,
    "caddy": caddy.inspect,
    "traefik": traefik.inspect,
    "haproxy": haproxy.inspect,
}
_ENVOY: Final = ("static_resources", "dynamic_resources", "resources")
_TRAEFIK: Final = ("entryPoints", "providers", "http", "tcp", "udp", "tls")
_WORDS: Final = {
    "haproxy": re.compile(r"^(?:frontend|listen|backend|defaults|global)\b[^{]*$", re.MULTILINE),
    "nginx": re.compile(r"^\s*(?:http|events|server|stream|upstream\s+\S+|location\s+[^{]+)\s*\{", re.MULTILINE),
    "caddy": re.compile(r"^\s*(?:forward_auth|reverse_proxy|file_server|handle|route|tls|respond)\b|^\{\s*$", re.MULTILINE),
}


def kind_of(file: Path) -> str | None:
    """By its name, else by what it says; None: neither tells. Raises `OSError`, `UnicodeDecodeError`."""
    if "caddyfile" in file.name.lower():
        return "caddy"
    text = file.read_text()
    if file.suffix in {".yaml", ".yml", ".json"}:
        try:
            tree = read_marked(file)
        except UnreadableError:
            return None
        if any(tree[name] for name in _ENVOY):
            return "envoy"
        return "traefik" if any(tree[name] for name in _TRAEFIK) else None
    return next((kind for kind, words in _WORDS.items() if words.search(text)), None)
