"""A log that cannot be written is a log that is lost, and nothing else."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.proxy import SECRET, Proxy
from server.operators import Operators
from support.device import SimulatedDevice
from support.pki import Pki
from support.processes import run
from support.rules import wiki_rules, write_rules
from support.server import WATCHWORD, Endpoints
from watchword.v1 import posture_pb2 as wire


@dataclass(frozen=True, slots=True)
class Unheard:
    """A server whose standard error goes into a pipe that nobody reads any more."""

    data: Path
    endpoints: Endpoints
    process: "subprocess.Popen[str]"


@pytest.fixture
def unheard(tmp_path: Path) -> Iterator[Unheard]:
    data = tmp_path / "data"
    reading, writing = os.pipe()
    with subprocess.Popen(
        [WATCHWORD, "serve", "--data", data, "--port", "0"], stdout=subprocess.PIPE, stderr=writing, text=True
    ) as process:
        os.close(writing)
        assert process.stdout is not None
        line = process.stdout.readline()
        os.close(reading)
        try:
            yield Unheard(data, Endpoints.parse(line), process)
        finally:
            process.kill()


async def test_a_standard_error_that_nobody_reads_stops_nothing(unheard: Unheard, pki: Pki, tmp_path: Path) -> None:
    operators = Operators(unheard.data)
    rules = write_rules(wiki_rules(pki), tmp_path, caller_secret=SECRET)
    token = operators.enrollment_token().text
    await asyncio.to_thread(run, [WATCHWORD, "apply", rules, "--data", unheard.data])
    credential = pki.issuing.issue()
    device = SimulatedDevice(unheard.endpoints.agents, found=(credential,))
    assert isinstance(await device.enroll(token), wire.EnrollResult)
    assert isinstance(await device.attest_once(), wire.Ack)
    with Proxy(unheard.endpoints.decisions_http) as proxy:
        assert proxy.ask(credential).allowed
    with Proxy(unheard.endpoints.decisions_http, secret="wrong") as stranger:
        assert stranger.ask(credential).reason == "caller_refused"
    operators.revoke(device.device_id)
    unheard.process.terminate()
    assert await asyncio.to_thread(unheard.process.wait, 20) == 0
