"""A device whose own key lies in a TPM: enrolled, attested, told apart from one whose key lies in a file."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.device import Device
from agent.proofs import open_envelope
from support.pki import Pki, key_pem
from support.processes import free_ports
from support.programs import program
from support.server import WatchwordServer
from watchword.envelope import EVIDENCE_TYPE
from watchword_agent import app
from watchword_agent.device_key import FileKey
from watchword_agent.errors import DeviceKeyError
from watchword_agent.key_files import KeyFiles
from watchword_agent.settings import load_settings

pytestmark = pytest.mark.needs_program("swtpm")

RULES = """
certificates:
  - name: device-ca
    file: ca.pem
checks:
  - name: laptop
    type: client_certificate_v2
    input: {{ certificate_id: device-ca, locations: {{ paths: ["{client}"] }} }}
"""


class Tpm:
    """A software TPM in a directory, which is its seed; at a TCTI."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._port = next(port for port in free_ports(4) if port % 1 == 0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def tcti(self) -> str:
        return f"swtpm:host=127.0.0.1,port={self._port}"

    def start(self) -> None:
        where = ["--server", f"type=tcp,port={self._port},bindaddr=127.0.0.1"]
        control = ["--ctrl", f"type=tcp,port={self._port + 1},bindaddr=127.0.0.1"]
        state = ["--tpm2", "--tpmstate", f"dir={self.directory}", "--flags", "not-need-init,startup-clear"]
        pid = self.directory / "pid"
        pid.unlink(missing_ok=True)
        command = [str(program("swtpm")), "socket", *state, *where, *control, "--pid", f"file={pid}"]
        self._process = subprocess.Popen(command)
        while not pid.exists():  # it writes that once it listens
            assert self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Tpm]:
    made = Tpm(tmp_path / "tpm")
    made.start()
    yield made
    made.stop()


def test_a_key_signs_and_its_file_holds_no_key(tpm: Tpm, tmp_path: Path) -> None:
    files = KeyFiles("tpm", tpm.tcti)
    key = files.load_or_create(tmp_path / "device.key")
    again = files.load(tmp_path / "device.key")
    assert again.key_id == key.key_id
    envelope = again.sign(EVIDENCE_TYPE, b"payload")
    assert open_envelope(envelope, payload_type=EVIDENCE_TYPE, public_key_der=key.public_key_der) == b"payload"
    with pytest.raises(ValueError, match="PEM"):
        FileKey.from_pem((tmp_path / "device.key").read_bytes())


def test_the_same_tpm_after_a_restart_signs_and_another_does_not(tpm: Tpm, tmp_path: Path) -> None:
    key = KeyFiles("tpm", tpm.tcti).load_or_create(tmp_path / "device.key")
    tpm.stop()
    with pytest.raises(DeviceKeyError, match="cannot be reached"):
        key.sign(EVIDENCE_TYPE, b"payload")
    tpm.start()
    assert key.sign(EVIDENCE_TYPE, b"payload").signatures
    tpm.stop()
    other = Tpm(tmp_path / "other")
    other.start()
    try:
        foreign = KeyFiles("tpm", other.tcti).load(tmp_path / "device.key")
        with pytest.raises(DeviceKeyError, match="did not make this key"):
            foreign.sign(EVIDENCE_TYPE, b"payload")
    finally:
        other.stop()


async def test_the_server_knows_where_a_devices_key_lies(tpm: Tpm, tmp_path: Path) -> None:
    pki = Pki.make()
    client = pki.issuing.issue()
    (tmp_path / "ca.pem").write_bytes(pki.issuing.pem)
    (tmp_path / "client.pem").write_bytes(client.pem + key_pem(client.key))
    (tmp_path / "rules.yaml").write_text(RULES.format(client=tmp_path / "client.pem"))
    with WatchwordServer(tmp_path / "data") as server:
        server.apply(tmp_path / "rules.yaml")
        for keeper in ("tpm", "file"):
            options = {
                "server": server.endpoints.agents if "//" in server.endpoints.agents else f"http://{server.endpoints.agents}",
                "state_dir": tmp_path / keeper,
                "device_key": keeper,
                "tpm_tcti": tpm.tcti,
            }
            settings = load_settings(options=options)
            enrolled = await app.enroll_device(settings, await asyncio.to_thread(server.enrollment_token))
            device = Device(settings, enrolled.enrollment)
            async with device.running():
                status = await device.status_when(lambda status: bool(status.checks))
                assert status.checks[0].reason in ("passed", "certificate_cloned")  # the second proves the key of the first
        listed = {each["id"]: each["key_protection"] for each in await asyncio.to_thread(server.devices)}
        assert sorted(listed.values()) == ["file", "tpm"]
