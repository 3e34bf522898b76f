"""The agent and the real server, both as operators run them: `watchword serve`, `watchword-agent run`."""

import asyncio
from pathlib import Path

from agent.device import Device
from agent.fake_server import PATIENCE_SECONDS
from agent.test_cli import run, start
from support.pki import Pki, key_pem
from support.server import WatchwordServer

RULES = """
certificates:
  - name: device-ca
    file: ca.pem
checks:
  - name: managed-laptop
    type: client_certificate_v2
    match: [{{ platform: linux }}]
    schedule: 5m
    input:
      operating_system: linux
      certificate_id: device-ca
      cn: "${{hostname}}.corp.example"
      extended_key_usage: [clientAuth]
      check_private_key: true
      locations: {{ paths: ["{directory}/${{serial_number}}.pem", "{directory}/client.key"] }}
"""


async def test_a_certificate_passes_is_removed_and_comes_back(tmp_path: Path, pki: Pki) -> None:
    client, certificate, state = pki.issuing.issue("laptop-1.corp.example"), tmp_path / "SN-1.pem", tmp_path / "state"
    (tmp_path / "ca.pem").write_bytes(pki.issuing.pem)
    (tmp_path / "rules.yaml").write_text(RULES.format(directory=tmp_path))
    (tmp_path / "client.key").write_bytes(key_pem(client.key))
    certificate.write_bytes(client.pem)
    with WatchwordServer(tmp_path / "data") as server:
        server.apply(tmp_path / "rules.yaml")
        (tmp_path / "token").write_text(server.enrollment_token())
        names = ("--hostname", "laptop-1", "--serial-number", "SN-1")
        enroll = ("enroll", "--server", f"http://{server.endpoints.agents}", "--token-file", tmp_path / "token")
        enrolled = await run(*enroll, "--state", state, *names)
        assert enrolled.code == 0, enrolled.err
        used_up = await run(*enroll, "--state", tmp_path / "another")
        assert used_up.code == 1
        assert "correlation id `" in used_up.err

        agent = await start("run", "--state", state)
        try:
            device = await Device.of(state)
            passed = await device.status_when(lambda status: any(check.passed for check in status.checks))
            assert [(check.name, check.reason) for check in passed.checks] == [("managed-laptop", "passed")]
            certificate.rename(tmp_path / "away")
            gone = await device.status_when(lambda status: not status.checks[0].passed)
            assert gone.checks[0].reason == "path_missing"
            (tmp_path / "away").rename(certificate)
            await device.status_when(lambda status: status.checks[0].passed)
        finally:
            agent.terminate()
            await asyncio.wait_for(agent.communicate(), PATIENCE_SECONDS)
