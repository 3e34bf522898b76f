"""What decrypting a private key would cost, read before it is done: whoever writes the file chooses the cost.

PKCS #8 (RFC 5958) says how its key is derived from the password; a file may ask for hours of it, or for all memory.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Final

MAX_STEPS: Final = 4_000_000
"""Of one file, in iterations of PBKDF2: about two seconds; ten times what is recommended today."""
_MAX_SCRYPT_BYTES: Final = 256 * 2**20
_MAX_KEY_BYTES: Final = 64
_STEPS_PER_SCRYPT_BLOCK: Final = 3  # measured: N = 2**17, r = 8 takes as long as three million iterations of HMAC-SHA-256

_PBES2: Final = bytes.fromhex("2a864886f70d01050d")  # RFC 8018, A.4
_PBKDF2: Final = bytes.fromhex("2a864886f70d01050c")  # RFC 8018, A.2
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")  # RFC 7914, 7.1
_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_OBJECT: Final = 0x06
_SEQUENCE: Final = 0x30


def steps_to_decrypt(pem: bytes) -> int | None:
    """The cost in steps as `MAX_STEPS` counts them; None for what is not understood, which is not to be tried.

    The old form of OpenSSL (`Proc-Type: 4,ENCRYPTED`) costs nothing: one round of MD5.
    """
    first, *lines, _ = pem.splitlines()
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in first:
        return 0
    try:
        der = base64.b64decode(b"".join(lines), validate=True)
        (encrypted,) = _values(der, _SEQUENCE)
        algorithm = next(_elements(encrypted))
        return _steps(*_identifier(_expect(algorithm, _SEQUENCE)))
    except (ValueError, binascii.Error, StopIteration):
        return None


def _steps(algorithm: bytes, parameters: bytes) -> int:
    if algorithm != _PBES2:  # PKCS #5 v1.5 and PKCS #12: salt, iterations
        salt, iterations = _elements(parameters)
        _expect(salt, _OCTETS)
        return _number(iterations)
    derivation = next(_elements(parameters))
    function, parameters = _identifier(_expect(derivation, _SEQUENCE))
    elements = list(_elements(parameters))  # salt, what it costs, and perhaps how long the key is
    numbers = [_number(element) for element in elements[1:] if element[0] == _INTEGER]
    if function == _PBKDF2 and len(numbers) in (1, 2):
        if numbers[1:] > [_MAX_KEY_BYTES]:
            raise ValueError("too long a key")
        return numbers[0]
    if function == _SCRYPT and len(numbers) in (3, 4):
        cost, block_size, parallel = numbers[:3]
        if numbers[3:] > [_MAX_KEY_BYTES]:
            raise ValueError("too long a key")
        if 128 * cost * block_size <= _MAX_SCRYPT_BYTES:
            return _STEPS_PER_SCRYPT_BLOCK * cost * block_size * parallel
        raise ValueError("too much memory")
    raise ValueError("unknown function")


def _identifier(sequence: bytes) -> tuple[bytes, bytes]:
    """An AlgorithmIdentifier: its object identifier, and its parameters if they are a sequence."""
    elements = list(_elements(sequence))
    if len(elements) != 2:
        raise ValueError("not an algorithm with parameters")
    return _expect(elements[0], _OBJECT), _expect(elements[1], _SEQUENCE)


def _number(element: tuple[int, bytes]) -> int:
    number = int.from_bytes(_expect(element, _INTEGER), signed=True)
    if number < 1:
        raise ValueError("not a positive number")
    return number


def _values(der: bytes, tag: int) -> Iterator[bytes]:
    for element in _elements(der):
        yield _expect(element, tag)


def _expect(element: tuple[int, bytes], tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError(f"tag {element[0]:#x}, not {tag:#x}")
    return element[1]


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element, one after the other (X.690, 8.1). Raises `ValueError`."""
    at = 0
    while at < len(der):
        header = der[at : at + 2]
        if len(header) < 2:
            raise ValueError("cut off")
        tag, length, at = header[0], header[1], at + 2
        if length >= 0x80:
            size = length - 0x80
            if not 1 <= size <= 4 or at + size > len(der):
                raise ValueError("a length that is none")
            length, at = int.from_bytes(der[at : at + size]), at + size
        if at + length > len(der):
            raise ValueError("cut off")
        yield tag, der[at : at + length]
        at += length
