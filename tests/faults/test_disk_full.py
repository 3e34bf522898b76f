"""A disk that takes no more, under a server that is serving: evidence is refused, decisions go on, what narrows narrows.

Once by a limit on the size of the server's files, which any user may set, and once by a real full file system, where one may be
mounted.
"""

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pytest

from faults.proxy import Proxy
from faults.servers import UNHURRIED, apply_rules
from server.operators import Operators
from support.device import SimulatedDevice
from support.pki import Credential, Pki
from support.rules import wiki_rules
from support.server import WatchwordServer
from watchword.v1 import posture_pb2 as wire

_SIZE: Final = 16 * 1024 * 1024
_FILES_MAY_HAVE: Final = 64 * 1024  # less than the write-ahead log has already, more than the server's own log


class Disk(Protocol):
    """Where the data directory is."""

    def fill(self, server: WatchwordServer) -> None:
        """From now on it takes nothing."""

    def make_room(self, server: WatchwordServer) -> None:
        """It takes everything again."""


class LimitedFiles:
    """No file of the server's may grow (RLIMIT_FSIZE; Python ignores the signal, so that a write fails with EFBIG)."""

    def fill(self, server: WatchwordServer) -> None:
        _, self._hard = resource.prlimit(server.program.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.program.pid, resource.RLIMIT_FSIZE, (_FILES_MAY_HAVE, self._hard))

    def make_room(self, server: WatchwordServer) -> None:
        resource.prlimit(server.program.pid, resource.RLIMIT_FSIZE, (self._hard, self._hard))


@dataclass(slots=True)
class SmallFileSystem:
    """A file system of its own that something else fills (ENOSPC), whatever server is on it."""

    mounted: Path

    @property
    def _filler(self) -> Path:
        return self.mounted / "filler"

    def fill(self, server: WatchwordServer) -> None:  # noqa: ARG002 - see `Disk`
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0")

    def make_room(self, server: WatchwordServer) -> None:  # noqa: ARG002 - see `Disk`
        self._filler.unlink()


@pytest.fixture(params=["limited files", "full file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """The data directory is `tmp_path / "data"`."""
    if request.param == "limited files":
        yield LimitedFiles()
        return
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", str(data)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if mounted is None or mounted.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {'not root' if mounted is None else mounted.stderr.strip()}")
    try:
        yield SmallFileSystem(data)
    finally:
        subprocess.run(["umount", str(data)], check=True)


async def test_evidence_is_refused_and_decisions_go_on_until_there_is_room_again(disk: Disk, pki: Pki, tmp_path: Path) -> None:
    with WatchwordServer(tmp_path / "data", environment=UNHURRIED) as server:
        apply_rules(server, wiki_rules(pki))
        operators = Operators(server.data)
        healthy, failing, revoked = [await proven(server, operators, pki) for _ in range(3)]
        with Proxy(server.endpoints.decisions_http) as proxy:
            await _grow(healthy[0])
            assert all(proxy.ask(credential).allowed for _, credential in (healthy, failing, revoked))

            disk.fill(server)
            try:
                async with failing[0].attesting() as stream:
                    assert await refused(stream.attest()) == "store_unavailable"
                    assert proxy.ask(failing[1]).allowed, "what is known goes on holding"
                    failing[0].found = ()
                    assert await refused(stream.attest()) == "store_unavailable"
                    assert proxy.ask(failing[1]).reason == "check_failed", "what narrows holds in memory"
                    failing[0].found = (failing[1],)
                    assert await refused(stream.attest()) == "store_unavailable"
                    assert proxy.ask(failing[1]).reason == "check_failed", "what widens waits for its commit"
                    with pytest.raises(AssertionError, match="503"):
                        await asyncio.to_thread(operators.revoke, revoked[0].device_id)
                    assert proxy.ask(revoked[1]).reason == "device_revoked"
                    with pytest.raises(AssertionError, match="503"):
                        await asyncio.to_thread(operators.enrollment_token)
                    assert proxy.ask(healthy[1]).allowed
                    assert proxy.ask().reason == "no_device"

                    disk.make_room(server)
                    assert isinstance(await stream.attest(), wire.Ack), "on the same stream, without a new start"
                    assert proxy.ask(failing[1]).allowed
            finally:
                with contextlib.suppress(OSError):
                    disk.make_room(server)
            assert isinstance(await healthy[0].attest_once(), wire.Ack)
            await asyncio.to_thread(operators.revoke, revoked[0].device_id)
            assert proxy.ask(revoked[1]).reason == "device_revoked"

        server.kill()
        server.start()
        with Proxy(server.endpoints.decisions_http) as proxy:
            assert proxy.ask(healthy[1]).allowed
            assert proxy.ask(failing[1]).allowed
            assert proxy.ask(revoked[1]).reason == "device_revoked"


async def proven(server: WatchwordServer, operators: Operators, pki: Pki) -> tuple[SimulatedDevice, Credential]:
    """A device that passes with a certificate of its own."""
    credential = pki.issuing.issue()
    device = SimulatedDevice(server.endpoints.agents, found=(credential,))
    await device.enroll(operators.enrollment_token().text)
    assert isinstance(await device.attest_once(), wire.Ack)
    return device, credential


async def _grow(device: SimulatedDevice) -> None:
    """Attests until the write-ahead log is longer than files may be when they are limited."""
    async with device.attesting() as stream:
        for _ in range(5):
            assert isinstance(await stream.attest(), wire.Ack)


async def refused(answer: object) -> str:
    """The code of a rejection that leaves the stream open."""
    answered = await answer  # type: ignore[misc] # a coroutine
    assert isinstance(answered, wire.Rejected), answered
    assert answered.HasField("next_challenge")
    return answered.code
