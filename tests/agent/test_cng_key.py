"""A device key that Windows keeps, through every call that is made of it, over a stand-in of ncrypt."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import stand_ins
from agent.proofs import open_envelope
from watchword.envelope import EVIDENCE_TYPE
from watchword.v1 import posture_pb2 as pb
from watchword_agent import cng_key
from watchword_agent.errors import DeviceKeyError
from watchword_agent.key_files import Keeper, KeyFiles

pytestmark = pytest.mark.needs_program("cc")


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the stand-in keeps them. Every handle is freed in the end, once."""
    library = ctypes.CDLL(str(stand_ins.library("cng")))
    directory = tmp_path / "keys"
    directory.mkdir()
    monkeypatch.setenv("STAND_IN_KEYS", str(directory))
    monkeypatch.setattr(cng_key, "_library", lambda: library)
    before = library.stand_in_live()
    yield directory
    assert (library.stand_in_live(), library.stand_in_misused()) == (before, 0)


@pytest.mark.parametrize(
    ("keeper", "protection"), [("cng_tpm", pb.KEY_PROTECTION_CNG_TPM), ("cng_software", pb.KEY_PROTECTION_CNG_SOFTWARE)]
)
def test_windows_makes_finds_and_uses_a_key(tmp_path: Path, keys: Path, keeper: Keeper, protection: pb.KeyProtection) -> None:
    path = tmp_path / "device.key"
    made = KeyFiles(keeper).load_or_create(path)
    assert made.protection == protection
    again = KeyFiles("file").load_or_create(path)
    assert again.key_id == made.key_id
    for _ in range(8):
        envelope = again.sign(EVIDENCE_TYPE, b"payload")
        assert open_envelope(envelope, payload_type=EVIDENCE_TYPE, public_key_der=made.public_key_der) == b"payload"
    KeyFiles().remove(path)
    assert list(keys.iterdir()) == []
    assert not path.exists()


def test_a_key_that_windows_forgot_is_told_with_its_code(tmp_path: Path, keys: Path) -> None:
    key = KeyFiles("cng_software").load_or_create(tmp_path / "device.key")
    for path in keys.iterdir():
        path.unlink()
    with pytest.raises(DeviceKeyError, match="0x80090016"):
        key.sign(EVIDENCE_TYPE, b"payload")


def test_a_key_that_does_not_sign_is_told_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = KeyFiles("cng_tpm").load_or_create(tmp_path / "device.key")
    monkeypatch.setenv("STAND_IN_CODE", "80090022")
    with pytest.raises(DeviceKeyError, match="0x80090022"):
        key.sign(EVIDENCE_TYPE, b"payload")
