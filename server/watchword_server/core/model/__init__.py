"""The nouns: devices, checks, evidence, results, requests, decisions.

Times are `Instant`: seconds since the Unix epoch, UTC, as a float. Durations say their unit. `None` means "not known" or "never",
as the field says; absence is never an empty string.
"""
