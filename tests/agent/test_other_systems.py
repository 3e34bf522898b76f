"""The agent as on Windows and macOS over stand-ins of their libraries, and the real server: enrolled, attested, judged."""

from pathlib import Path

import pytest

from agent import stand_ins, test_macos, test_windows
from agent.device import Device
from support.pki import Pki
from support.server import WatchwordServer
from watchword_agent import app
from watchword_agent.helper_process import Helpers
from watchword_agent.identity import Identity
from watchword_agent.settings import load_settings
from watchword_agent.stores.base import Access

pytestmark = pytest.mark.needs_program("cc")

RULES = """
certificates:
  - name: device-ca
    file: ca.pem
checks:
  - name: in-store
    type: client_certificate_v2
    input:
      certificate_id: device-ca
      cn: "${hostname}.corp.example"
      check_private_key: true
      locations: { trust_stores: [system] }
"""


async def first_reason(tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch, *, platform: str, helpers: Helpers) -> str:
    (tmp_path / "ca.pem").write_bytes(pki.issuing.pem)
    (tmp_path / "rules.yaml").write_text(RULES)
    monkeypatch.setattr(app, "read_identity", lambda **_: Identity(platform, "laptop-1", "SN-1"))
    monkeypatch.setattr(app, "access_of", lambda _: Access(helpers))
    with WatchwordServer(tmp_path / "data") as server:
        server.apply(tmp_path / "rules.yaml")
        settings = load_settings(options={"server": f"http://{server.endpoints.agents}", "state_dir": tmp_path / "state"})
        device = Device(settings, (await app.enroll_device(settings, server.enrollment_token())).enrollment)
        async with device.running():
            status = await device.status_when(lambda status: bool(status.checks))
            (check,) = status.checks
            return check.reason


@pytest.mark.parametrize(("code", "reason"), [(None, "passed"), (-25308, "private_key_needs_ui")])
async def test_the_system_keychain(
    tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch, code: int | None, reason: str
) -> None:
    keychain = test_macos.Keychain(tmp_path / "keychain")
    keychain.add(pki.issuing.issue("laptop-1.corp.example"))
    if code is not None:
        keychain.fails("laptop", code)
    helpers = stand_ins.helpers("macos", STAND_IN_KEYCHAIN=str(keychain.directory))
    assert await first_reason(tmp_path, pki, monkeypatch, platform="mac", helpers=helpers) == reason


@pytest.mark.parametrize(("code", "reason"), [(None, "passed"), (0x80090010, "private_key_denied")])
async def test_a_key_of_cng(tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch, code: int | None, reason: str) -> None:
    store = test_windows.Store(tmp_path / "store")
    store.add(pki.issuing.issue("laptop-1.corp.example"))
    if code is not None:
        store.fails("laptop.sign", code)
    helpers = stand_ins.helpers("windows", STAND_IN_STORE=str(store.directory))
    assert await first_reason(tmp_path, pki, monkeypatch, platform="windows", helpers=helpers) == reason
