"""OCSP responses that lie beside a certificate's file: `client.pem` has its in `client.pem.ocsp`, as HAProxy names them.

Nothing is fetched here: whatever keeps the certificate current keeps its response current. The server verifies it.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import ocsp

from watchword_agent.errors import CollectionFailedError
from watchword_agent.stores.files import read_file

_SUFFIX: Final = ".ocsp"
_MAX_RESPONSE_BYTES: Final = 16 * 1024


def staple_path(path: str) -> str:
    """Where the response for the certificate in this file lies."""
    return path + _SUFFIX


def stapled(path: str) -> tuple[bytes, ...]:
    """The DER response beside a certificate's file, if there is one.

    The server chose the path: what is no successful OCSP response does not go back to it.
    """
    try:
        der = read_file(staple_path(path))
    except CollectionFailedError:
        return ()
    if len(der) > _MAX_RESPONSE_BYTES:
        return ()
    try:
        response = ocsp.load_der_ocsp_response(der)
        successful = response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ()
    return (der,) if successful else ()
