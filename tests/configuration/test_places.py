"""Where a check may have agents look."""

import pytest
from pydantic import ValidationError

from watchword_server.configuration.document.checks import Locations


@pytest.mark.parametrize(
    "place",
    [
        "/etc/corp/client.pem",
        "C:\\corp\\client.pem",
        "sql:/etc/pki/nssdb",
        "sql:/home/${hostname}/.pki/nssdb",
        "pkcs11:token=laptop;object=${serial_number}",
        "pkcs11:id=%01%02?module-path=/usr/lib/softhsm/libsofthsm2.so",
    ],
)
def test_files_databases_and_tokens_may_be_named(place: str) -> None:
    assert Locations.model_validate({"paths": [place]}).paths == [place]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("client.pem", "absolute path"),
        ("sql:nssdb", "absolute path"),
        ("sql:/var/../etc", "`..`"),
        ("dbm:/etc/pki/nssdb", "certutil -K -X"),
        ("pkcs11:token=laptop?pin-value=1234", "password_files"),
        ("pkcs11:token=laptop?pin-source=file:/etc/pin", "password_files"),
        ("pkcs11:token=my laptop", "%XX"),
        ("pkcs11:token=${user}", "${user}"),
    ],
)
def test_others_may_not(place: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("$", r"\$").replace("{", r"\{").replace(".", r"\.")):
        Locations.model_validate({"paths": [place]})
