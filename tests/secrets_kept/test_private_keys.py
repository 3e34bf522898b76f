"""An uploaded private key is kept encrypted or not at all, and is told nowhere."""

import hashlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from audit.conftest import Office
from services.world import World
from support.pki import Pki, generate_key, key_pem
from watchword_server.adapters.key_encryption import KeyEncryption
from watchword_server.errors import ConfigurationError
from watchword_server.house import House
from watchword_server.settings import Settings


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki.make()


def key_file(directory: Path, *keys: str, mode: int = 0o600) -> Path:
    path = directory / "kek"
    path.write_text("\n".join(keys))
    path.chmod(mode)
    return path


@pytest.fixture
async def office(tmp_path: Path, pki: Pki) -> AsyncIterator[Office]:
    path = key_file(tmp_path, "11" * 32, "22" * 32)
    async with World.open(tmp_path, pki, operators={"key_encryption_key_file": path}) as world:
        office = Office(world)
        for role in ("read", "write", "admin"):
            await office.hire(role)
        yield office


async def upload(office: Office, pki: Pki, key: str, **more: Any) -> Any:
    body = {"ca": True, "name": "ca", "certificates": pki.issuing.pem.decode(), "private_key": key, **more}
    return await office.call("POST", f"{office.account}/mtls_certificates", body, token=office.tokens["write"], headers=RETRY)


RETRY = {"x-stainless-retry-count": "1"}


def pem_of(pki: Pki) -> str:
    return key_pem(pki.issuing.credential.key).decode()


async def test_it_is_kept_encrypted_and_told_nowhere(office: Office, pki: Pki, capfd: pytest.CaptureFixture[str]) -> None:
    pem = pem_of(pki)
    made = await upload(office, pki, pem)
    assert made.status_code == 200, made.text
    again = await upload(office, pki, pem)  # its answer was lost
    assert again.json()["result"]["id"] == made.json()["result"]["id"]
    house = office.world.house
    [stored], _ = await house.store.load_rules()
    api: Any = stored.body["api"]
    associated = hashlib.sha256(pki.issuing.credential.der).digest()
    keys = KeyEncryption.read(house.settings.operators.key_encryption_key_file or Path())
    assert keys.unseal(api["private_key_sealed"], associated) == pem.encode()
    with pytest.raises(ValueError, match="another certificate"):
        keys.unseal(api["private_key_sealed"], b"another")
    entry = made.json()["result"]["id"]
    told = made.text + again.text
    for path in (f"{office.account}/mtls_certificates", f"{office.account}/mtls_certificates/{entry}"):
        told += (await office.call("GET", path, token=office.tokens["read"])).text
    for path in ("/api/v1/rules/export", "/api/v1/revisions", "/api/v1/audit", "/api/v1/certificates"):
        told += (await office.call("GET", path, token=office.tokens["admin"])).text
    revision = (await office.call("GET", "/api/v1/revisions", token=office.tokens["admin"])).json()["revisions"][0]["revision"]
    told += (await office.call("GET", f"/api/v1/revisions/{revision}", token=office.tokens["admin"])).text
    told += "".join(capfd.readouterr())
    body = pem.splitlines()[1]
    assert body not in told
    assert api["private_key_sealed"] not in told
    on_disk = b"".join(file.read_bytes() for file in house.data_dir.rglob("*") if file.is_file())
    assert body.encode() not in on_disk
    assert (await office.call("DELETE", f"{office.account}/mtls_certificates/{entry}", token=office.tokens["write"])).is_success
    assert await house.store.load_rules() == ([], house.rules.in_force.current.rules.revision)


@pytest.mark.parametrize("which", ["another", "encrypted", "junk", "a public one"])
async def test_what_is_not_the_certificates_key_is_refused_and_not_repeated(office: Office, pki: Pki, which: str) -> None:
    encrypted = key_pem(pki.issuing.credential.key, password=b"x")
    text = {
        "another": key_pem(generate_key()).decode(),
        "encrypted": encrypted.decode(),
        "junk": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IQ==\n-----END PRIVATE KEY-----",
        "a public one": pki.issuing.pem.decode(),
    }[which]
    refused = await upload(office, pki, text)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["source"]["pointer"] == "/private_key"
    assert text.splitlines()[1] not in refused.text


async def test_what_is_ours_to_make_is_not_taken(office: Office, pki: Pki) -> None:
    refused = await upload(office, pki, "", private_key_sealed="v1.x.y")
    assert refused.json()["errors"][0]["source"]["pointer"] == "/private_key_sealed"


@pytest.mark.parametrize(
    ("keys", "mode", "words"),
    [
        ((), 0o600, "0 keys"),
        (("11" * 31,), 0o600, "line 1"),
        (("11" * 32, "zz" * 32), 0o600, "line 2"),
        (("11" * 32,), 0o640, "others"),
        (tuple(f"{number:064x}" for number in range(17)), 0o600, "17 keys"),
    ],
)
async def test_a_key_file_that_is_not_one_keeps_the_server_from_starting(
    tmp_path: Path, keys: tuple[str, ...], mode: int, words: str
) -> None:
    path = key_file(tmp_path, *keys, mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(ConfigurationError, match=words):
        await House.open(tmp_path / "data", Settings(operators={"key_encryption_key_file": path}))
    missing = tmp_path / "nowhere"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await House.open(tmp_path / "data", Settings(operators={"key_encryption_key_file": missing}))


def test_an_older_key_still_decrypts_and_a_missing_one_is_named(tmp_path: Path) -> None:
    before = KeyEncryption.read(key_file(tmp_path, "11" * 32))
    sealed = before.seal(b"secret", b"x")
    after = KeyEncryption.read(key_file(tmp_path, "22" * 32, "11" * 32))
    assert after.unseal(sealed, b"x") == b"secret"
    assert after.seal(b"secret", b"x").split(".")[1] != sealed.split(".")[1]
    with pytest.raises(ValueError, match="not in the key file"):
        KeyEncryption.read(key_file(tmp_path, "22" * 32)).unseal(sealed, b"x")
