"""What a client may try to say in the name of a proxy or of Watchword."""

from typing import Final

OWNED: Final = (
    "X-Watchword-Decision-Id",
    "X-Watchword-Device",
    "X-Watchword-Device-Identified-By",
    "X-Watchword-User",
    "X-Watchword-Policy",
    "X-Watchword-Checks",
    "X-Watchword-Evidence-Level",
    "X-Watchword-Evidence-Age",
    "X-Watchword-Reason",
    "X-Watchword-Assertion",
    "X-Watchword-Caller-Secret",
)

SPOOFS: Final = (
    *((name, "spoofed") for name in OWNED),
    *((name.lower(), "spoofed-again") for name in OWNED),
    *((name.replace("-", "_"), "spoofed") for name in OWNED),
    ("X_Watchword-Device", "spoofed"),
    ("X-Authenticated-Email", "spoofed@corp.example"),
    ("X_Authenticated_Email", "spoofed@corp.example"),
    ("X-Forwarded-Client-Cert", "Hash=spoofed"),
    ("X-Client-Cert", "spoofed"),
    ("X-Client-Verify", "spoofed"),
    ("X-Forwarded-For", "198.51.100.66"),
    ("X-Forwarded-Host", "spoofed.example"),
    ("X-Forwarded-Port", "spoofed"),
    ("X-Forwarded-Prefix", "/spoofed"),
    ("X-Forwarded-Proto", "spoofed"),
    ("X-Real-IP", "198.51.100.66"),
    ("Forwarded", "for=198.51.100.66;host=spoofed.example"),
    ("X-Original-URL", "https://spoofed.example/"),
    ("X-Original-URI", "/spoofed"),
    ("X-Original-Method", "spoofed"),
    ("X-Rewrite-URL", "/spoofed"),
    ("X-HTTP-Method-Override", "spoofed"),
    # A proxy that obeyed this would drop its own headers behind itself.
    ("Connection", "close, X-Watchword-Device, X-Watchword-User, X-Authenticated-Email, X-Client-Cert, X-Original-URL"),
)
MARKS: Final = ("spoofed", "198.51.100.66")
