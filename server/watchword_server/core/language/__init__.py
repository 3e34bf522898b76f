"""The rules language: Cloudflare's (wirefilter) — scheme, text → typed syntax tree → closures.

`parse` reads an expression against a `Scheme` and refuses it with a place and a remedy; `compile_expression` turns what was read
into a function of a request's fields; `analysis` says what an expression needs, names and depends on.
"""
