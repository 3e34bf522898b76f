"""Stores of Linux, the agent and the real server, each as it is run: enrolled, attested, judged; and a change noticed."""

from pathlib import Path

import pytest

from agent.device import Device
from agent.nss_databases import NssDatabase
from agent.test_pkcs11 import MODULE, Tokens
from support.pki import Pki
from support.server import WatchwordServer
from watchword_agent import app
from watchword_agent.helper_process import Helpers
from watchword_agent.settings import load_settings
from watchword_agent.status import Status
from watchword_agent.stores.base import Access

pytestmark = [pytest.mark.needs_program(name) for name in ("certutil", "pk12util", "softhsm2-util", "pkcs11-tool")]

RULES = """
certificates:
  - name: device-ca
    file: ca.pem
checks:
  - name: in-a-database
    type: client_certificate_v2
    input: {{ certificate_id: device-ca, cn: "${{hostname}}.corp.example", locations: {{ paths: ["sql:{directory}/nssdb"] }} }}
  - name: in-a-token
    type: client_certificate_v2
    input: {{ certificate_id: device-ca, cn: "${{hostname}}.corp.example", locations: {{ paths: ["pkcs11:token=laptop"] }} }}
"""


async def test_what_lies_in_databases_and_tokens_passes_and_a_change_is_noticed(
    tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent runs here: SoftHSM finds its tokens by the environment of its helper alone."""
    client = pki.issuing.issue("laptop-1.corp.example")
    database, tokens = NssDatabase(tmp_path / "nssdb", password="secret"), Tokens(tmp_path)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    tokens.make("laptop")
    tokens.add("laptop", client, "client")
    (tmp_path / "ca.pem").write_bytes(pki.issuing.pem)
    (tmp_path / "rules.yaml").write_text(RULES.format(directory=tmp_path))
    passwords = {"token=laptop": tokens.pin_file("1234"), str(database.directory): database.password_file}
    monkeypatch.setattr(app, "access_of", lambda _: Access(Helpers(environment=tokens.environment), passwords, (MODULE,)))
    with WatchwordServer(tmp_path / "data") as server:
        server.apply(tmp_path / "rules.yaml")
        options = {"server": f"http://{server.endpoints.agents}", "state_dir": tmp_path / "state", "hostname": "laptop-1"}
        settings = load_settings(options=options)
        device = Device(settings, (await app.enroll_device(settings, server.enrollment_token())).enrollment)
        async with device.running():
            await device.status_when(lambda status: reasons(status) == {"in-a-database": "store_empty", "in-a-token": "passed"})
            database.add(client, "laptop")
            await device.status_when(lambda status: set(reasons(status).values()) == {"passed"})


def reasons(status: Status) -> dict[str, str]:
    return {check.name: check.reason for check in status.checks}
