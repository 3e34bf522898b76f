"""Implementations of the ports: clock, store, cache, logs."""
