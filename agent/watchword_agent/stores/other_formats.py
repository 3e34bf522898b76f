"""What a file without a certificate in PEM seems to be, and the command that makes PEM of it."""

import codecs

from cryptography import x509


def conversion(data: bytes) -> str:
    """For the person at the device; empty for what is not known. Nothing of the content is in it."""
    if not data:
        return "is empty"
    if b"-----BEGIN PKCS7-----" in data:
        return "is PKCS #7: convert it with `openssl pkcs7 -print_certs -in FILE -out CLIENT.pem`"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is text in UTF-16: convert it with `iconv -f UTF-16 -t UTF-8 FILE`"
    if data.startswith(b"\x30"):  # a SEQUENCE in DER
        if _is_certificate(data):
            return "is a certificate in DER: convert it with `openssl x509 -inform DER -in FILE -out CLIENT.pem`"
        if b"\x02\x01\x03\x30" in data[:12]:  # PFX: version 3, then what it holds (RFC 7292, 4)
            return "is PKCS #12: convert it with `openssl pkcs12 -in FILE -out CLIENT.pem -noenc`"
        return "is DER, not PEM: convert it with `openssl x509 -inform DER` or `openssl pkey -inform DER`"
    return ""


def _is_certificate(data: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(data)
    except (ValueError, TypeError, x509.InvalidVersion):
        return False
    return True
