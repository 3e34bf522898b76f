"""The device's own key: made once, for its owner alone."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.proofs import open_envelope
from support.pki import KeyKind, generate_key, key_pem
from watchword.envelope import EVIDENCE_TYPE, key_id
from watchword_agent.errors import DeviceKeyError
from watchword_agent.key_files import KeyFiles


def test_a_new_key_is_p256_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    key = KeyFiles().load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private_key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(private_key, ec.EllipticCurvePrivateKey)
    assert private_key.curve.name == "secp256r1"
    assert key.key_id == key_id(key.public_key_der)
    assert [entry.name for entry in tmp_path.iterdir()] == ["device.key"]


def test_the_key_that_is_there_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    assert KeyFiles().load_or_create(path).public_key_der == KeyFiles().load_or_create(path).public_key_der


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_it_signs_the_exact_bytes(tmp_path: Path, kind: KeyKind) -> None:
    path = _put(tmp_path, key_pem(generate_key(kind)))
    key = KeyFiles().load(path)
    envelope = key.sign(EVIDENCE_TYPE, b"payload")
    assert open_envelope(envelope, payload_type=EVIDENCE_TYPE, public_key_der=key.public_key_der) == b"payload"
    assert envelope.signatures[0].keyid == key.key_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = _put(tmp_path, key_pem(generate_key()))
    path.chmod(mode)
    with pytest.raises(DeviceKeyError, match=f"mode {mode:04o}"):
        KeyFiles().load_or_create(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_owner_is_refused(tmp_path: Path) -> None:
    path = _put(tmp_path, key_pem(generate_key()))
    os.chown(path, 65534, -1)
    with pytest.raises(DeviceKeyError, match="owner 65534"):
        KeyFiles().load(path)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(_put(tmp_path, key_pem(generate_key())))
    with pytest.raises(DeviceKeyError):
        KeyFiles().load(tmp_path / "link")


@pytest.mark.parametrize("pem", [b"", b"nonsense", key_pem(generate_key(), password=b"secret"), key_pem(generate_key("p384"))])
def test_what_is_no_device_key_is_refused_and_kept(tmp_path: Path, pem: bytes) -> None:
    path = _put(tmp_path, pem)
    with pytest.raises(DeviceKeyError):
        KeyFiles().load_or_create(path)
    assert path.read_bytes() == pem


def test_a_fifo_is_refused_and_hangs_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "device.key", 0o600)
    with pytest.raises(DeviceKeyError, match="regular file"):
        KeyFiles().load(tmp_path / "device.key")


def _put(directory: Path, pem: bytes) -> Path:
    path = directory / "device.key"
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return path
