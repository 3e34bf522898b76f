"""The forms in which proxies pass a client certificate, each to DER. Bytes are read here; what they are worth is judged later.

Every function raises `ValueError` for what is not of its form. A form is a contract's, never guessed.
"""

import base64
import hashlib
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

MAX_LENGTH: Final = 64 * 1024  # characters or bytes
_PAIR: Final = re.compile(r'([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;=]*))(;|,|\Z)')


def from_escaped_pem(text: str) -> bytes:
    """URL-encoded PEM: Envoy's `source.certificate`, nginx's `$ssl_client_escaped_cert`."""
    return _strict(x509.load_pem_x509_certificate(unquote_to_bytes(text)))


def from_base64_der(text: str) -> bytes:
    """DER in base64 on one line: Caddy's `certificate_der_base64`, HAProxy's `ssl_c_der,base64`."""
    return from_der(base64.b64decode(text, validate=True))


def from_der(der: bytes) -> bytes:
    """DER itself: HAProxy's `ssl_c_der` over SPOP."""
    return _strict(x509.load_der_x509_certificate(der))


def from_traefik(text: str) -> bytes:
    """The first certificate of what PassTLSClientCert writes: DER in base64, its chain after commas, perhaps escaped."""
    first = unquote_to_bytes(text).decode("ascii").split(",", 1)[0] if "%" in text else text.split(",", 1)[0]
    return from_base64_der(first)


def from_forwarded_client_cert(text: str) -> bytes:
    """Envoy's X-Forwarded-Client-Cert of one element, as SANITIZE_SET writes it: its `Cert`, which `Hash` has to agree with."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise ValueError("X-Forwarded-Client-Cert is not a list of `Key=value` pairs")
        key, quoted, plain, end = pair.groups()
        if end == ",":
            raise ValueError("X-Forwarded-Client-Cert has several elements: set `forward_client_cert_details: SANITIZE_SET`")
        if key.lower() in ("cert", "hash") and key.lower() in pairs:
            raise ValueError(f"X-Forwarded-Client-Cert has `{key}` twice")
        pairs[key.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
        position = pair.end()
    if "cert" not in pairs:
        raise ValueError("X-Forwarded-Client-Cert has no `Cert`: add `cert: true` to `set_current_client_cert_details`")
    der = from_escaped_pem(pairs["cert"])
    if "hash" in pairs and pairs["hash"].lower() != hashlib.sha256(der).hexdigest():
        raise ValueError("X-Forwarded-Client-Cert names the hash of another certificate")
    return der


def _strict(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
