"""An enrolled device whose agent runs inside the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from agent.fake_server import PATIENCE_SECONDS, TOKEN, FakeServer
from watchword.v1 import posture_pb2 as pb
from watchword_agent.app import enroll_device, run_agent
from watchword_agent.settings import Settings, load_settings
from watchword_agent.state import Enrollment, StateDirectory
from watchword_agent.status import Status, read_status
from watchword_agent.stores.base import Watched
from watchword_agent.watch import StoreWatch

QUICK = {
    "reconnect_base_seconds": 0.02,
    "refused_base_seconds": 0.02,
    "answer_timeout_seconds": 10.0,
    "hostname": "laptop-1",
    "serial_number": "SN-1",
}


@dataclass(frozen=True)
class Device:
    settings: Settings
    enrollment: Enrollment

    @classmethod
    async def enroll(cls, server: FakeServer, state: Path) -> Self:
        settings = load_settings(options={"server": server.address, "state_dir": state, **QUICK})
        return cls(settings, (await enroll_device(settings, TOKEN)).enrollment)

    @classmethod
    async def of(cls, state: Path) -> Self:
        """One that was enrolled by somebody else."""
        return cls(load_settings(options={"state_dir": state}), StateDirectory(state).enrollment())

    def status(self) -> Status | None:
        return read_status(StateDirectory(self.settings.state_dir).status_path)

    async def status_when(self, condition: Callable[[Status], bool]) -> Status:
        """The first status written that fulfils the condition."""
        news, watch = asyncio.Event(), StoreWatch()
        await watch.update(Watched(frozenset({str(StateDirectory(self.settings.state_dir).status_path)})))
        watching = asyncio.create_task(watch.run(news.set))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (status := self.status()) is None or not condition(status):
                    await news.wait()
                    news.clear()
                return status
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    @contextlib.asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator["asyncio.Task[None]"]:
        """The agent runs while the block does, with these settings changed."""
        settings = load_settings(options={**self.settings.model_dump(), **changes})
        task = asyncio.create_task(run_agent(settings))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert not task.cancelled()
            if error := task.exception():
                raise error


def check_set(*paths: Path | str, revision: int = 7, schedule_seconds: int = 300, due_within_ms: int = 0) -> pb.CheckSet:
    """One check per path."""
    return pb.CheckSet(
        revision=revision,
        due_within_ms=due_within_ms,
        checks=[check(f"check-{n}", path, schedule_seconds=schedule_seconds) for n, path in enumerate(paths)],
    )


def check(check_id: str, *paths: Path | str, schedule_seconds: int = 300, check_private_key: bool = True) -> pb.Check:
    wanted = pb.ClientCertificateCheck(paths=[str(path) for path in paths], check_private_key=check_private_key)
    return pb.Check(
        id=check_id, name=f"name of {check_id}", revision=3, schedule_seconds=schedule_seconds, client_certificate=wanted
    )
