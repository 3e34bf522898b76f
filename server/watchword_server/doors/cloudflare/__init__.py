"""The Cloudflare API (v4) for what we have of it, so that its SDK and scripts made for it work with another base URL.

`resources.py` has what all kinds of entries share, then there is one module a kind; docs/api.md says where we differ.
"""
