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

# By which somebody else's proxy, access product or TLS terminator tells an application who asks. None of them is ours, and none
# may reach an application from outside. The two of a service token are the client's own: they are not here.
FOREIGN: Final = (
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme"),
    *("X-Forwarded-Ssl", "X-Forwarded-Server", "X-Forwarded-By", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-User"),
    *("X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token"),
    *("X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "Forwarded"),
    *("X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Original-Host", "X-Original-For", "X-Original-Forwarded-For"),
    *("X-Rewrite-Url", "X-Http-Method-Override", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip"),
    *("X-Client-Cert", "X-Client-Cert-Der", "X-Client-Verify", "X-Client-Dn", "Client-Cert", "Client-Cert-Chain"),
    *("X-Ssl-Cert", "X-Ssl-Client-Cert", "X-Ssl-Client-Verify", "X-Ssl-Client-Dn", "X-Ssl-Client-S-Dn", "X-Ssl-Client-Sha1"),
    *("Ssl-Client-Cert", "Ssl-Client-Verify", "Ssl-Client-S-Dn", "Ssl-Client-Subject-Dn"),
    *("Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Ipcountry", "Cf-Ray", "Cf-Visitor", "Cf-Worker"),
    *("Cf-Access-Jwt-Assertion", "Cf-Access-Authenticated-User-Email", "Cf-Client-Cert-Der-Base64"),
    *("X-Envoy-External-Address", "X-Envoy-Internal", "X-Envoy-Original-Path", "X-Envoy-Original-Host", "X-Envoy-Peer-Metadata"),
    *("Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name", "X-Remote-User", "X-Remote-Group", "X-Remote-Email"),
    *("X-Auth-Request-User", "X-Auth-Request-Email", "X-Authenticated-Email", "X-Authenticated-User"),
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
