"""Cloudflare's own SDK against a real server, as an operator uses it."""
