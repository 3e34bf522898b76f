"""The agent with the Windows helper under Wine, and the real server: a certificate in a store of Windows passes, or says why not.

The agent itself runs here, and takes itself for one on Windows: only what Windows' libraries do is Wine's.
"""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.device import Device
from platforms.wine.wine import Place, put, windows_helpers
from support.pki import Authority, Pki
from support.server import WatchwordServer
from watchword_agent import app
from watchword_agent.identity import Identity
from watchword_agent.settings import load_settings
from watchword_agent.stores.base import Access

RULES = """
certificates:
  - name: device-ca
    file: ca.pem
checks:
  - name: in-store
    type: client_certificate_v2
    match: [{{ platform: windows }}]
    schedule: 5m
    input:
      operating_system: windows
      certificate_id: device-ca
      cn: "${{hostname}}.corp.example"
      extended_key_usage: [clientAuth]
      check_private_key: true
      allow_pkcs1: {allow_pkcs1}
      locations: {{ trust_stores: [{place}] }}
"""
pytestmark = pytest.mark.usefixtures("_stores")


@pytest.fixture(autouse=True)
def _on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "read_identity", lambda **_: Identity("windows", "laptop-1", "SN-1"))
    monkeypatch.setattr(app, "access_of", lambda _: Access(windows_helpers()))


@asynccontextmanager
async def attesting(tmp_path: Path, authority: Authority, place: Place, *, allow_pkcs1: bool = True) -> Any:
    """An enrolled device whose agent runs, against a real server with one check."""
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "rules.yaml").write_text(RULES.format(place=place, allow_pkcs1=str(allow_pkcs1).lower()))
    with WatchwordServer(tmp_path / "data") as server:
        server.apply(tmp_path / "rules.yaml")
        settings = load_settings(options={"server": f"http://{server.endpoints.agents}", "state_dir": tmp_path / "state"})
        device = Device(settings, (await app.enroll_device(settings, server.enrollment_token())).enrollment)
        async with device.running():
            yield device


async def first_result(tmp_path: Path, authority: Authority, place: Place, **options: Any) -> str:
    async with attesting(tmp_path, authority, place, **options) as device:
        status = await device.status_when(lambda status: bool(status.checks))
        (check,) = status.checks
        return str(check.reason)


@pytest.mark.parametrize("place", ["system", "user"])
async def test_a_certificate_whose_key_signs_passes(tmp_path: Path, pki: Pki, place: Place) -> None:
    put(place, pki.issuing.issue("laptop-1.corp.example", key="rsa2048"))
    assert await first_result(tmp_path, pki.issuing, place) == "passed"


async def test_an_empty_store_holds_no_certificate(tmp_path: Path, pki: Pki) -> None:
    assert await first_result(tmp_path, pki.issuing, "system") == "certificate_not_found"


async def test_a_certificate_of_another_issuer_is_told_as_such(tmp_path: Path, pki: Pki) -> None:
    put("system", pki.web.issue("laptop-1.corp.example", key="rsa2048"))
    assert await first_result(tmp_path, pki.issuing, "system") == "certificate_wrong_issuer"


@pytest.mark.parametrize("container", [None, "gone"])
async def test_a_certificate_without_its_key_proves_nothing(tmp_path: Path, pki: Pki, container: str | None) -> None:
    """It names no key, or one that was deleted."""
    put("system", pki.issuing.issue("laptop-1.corp.example", key="rsa2048"), container=container, with_key=False)
    assert await first_result(tmp_path, pki.issuing, "system") == "private_key_absent"


async def test_a_key_of_another_certificate_is_told_as_such(tmp_path: Path, pki: Pki) -> None:
    """The agent compares where it opens a key itself. Where Wine opens it, it passes over the flag that has Windows compare."""
    other = pki.issuing.issue("laptop-2.corp.example", key="rsa2048")
    put("system", pki.issuing.issue("laptop-1.corp.example", key="rsa2048"), key_of=other)
    assert await first_result(tmp_path, pki.issuing, "system") == "private_key_mismatch"


async def test_a_key_of_the_old_interface_does_not_sign_unless_the_check_allows_it(tmp_path: Path, pki: Pki) -> None:
    put("system", pki.issuing.issue("laptop-1.corp.example", key="rsa2048"))
    assert await first_result(tmp_path, pki.issuing, "system", allow_pkcs1=False) == "possession_key_unsupported"


@pytest.mark.parametrize("place", ["system", "user"])
def test_the_helper_says_when_it_watches(place: Place) -> None:
    """That a change is told, too, cannot be shown here: this Wine takes CERT_STORE_CTRL_NOTIFY_CHANGE and never signals."""
    with windows_helpers().start("windows") as process:
        assert process.ask({"op": "watch", "place": place}) == {"watching": place}
