"""The certificate verdict: whether a certificate is a client certificate of ours, valid now, as a check wants it, not revoked.

`verdict.py` is where it is put together, in the order of the conditions; each condition has its module: `path` (RFC 5280, 6.1)
with `name_constraints` and `names`, `conditions` (what the check asks for), `revocation` and `ocsp`. `parsed` is a certificate
once read, `refusal` the reasons.

The `cryptography` library parses and verifies signatures; what RFC 5280 and the check make of them stands here, each condition
with its section.
"""
