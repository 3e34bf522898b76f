"""`watchword serve` as operators run it: a program with a data directory, spoken to over its ports and through its commands.

with WatchwordServer(tmp_path / "data") as server:
    server.apply(rules_path)
    token = server.enrollment_token()
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from support.processes import Program, ProgramError, free_ports, run

WATCHWORD: Final = Path(sys.executable).with_name("watchword")
_PORTS: Final = 8  # `--port P` counts up from P; a few to spare


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The line that `watchword serve` prints when it is ready."""

    operators: str
    decisions_http: str
    decisions_grpc: str
    agents: str
    agents_http: str
    decisions_spop: str
    account_id: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """From the line of JSON; fails if it holds anything else than promised."""
        values = json.loads(line)
        assert values.keys() == {field.name for field in fields(cls)}, line
        return cls(**values)

    @property
    def decisions_http_address(self) -> str:
        """`host:port` of `decisions_http`."""
        return self.decisions_http.removeprefix("http://")


class WatchwordServer:
    """A server on ports of its own, which it keeps over restarts. As a context manager it runs while the block does.

    `arguments` are added to `watchword serve`; `environment` to ours.
    """

    def __init__(self, data: Path, *, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self.data = data
        self._arguments = tuple(arguments)
        self._environment = dict(environment or {})
        self._first_port = free_ports(_PORTS)[0]
        self._program: Program | None = None
        self._endpoints: Endpoints | None = None
        data.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._program is not None:
            self._program.stop()

    @property
    def program(self) -> Program:
        """The running server, or the one that ran last."""
        assert self._program is not None, "it was never started"
        return self._program

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens; the same after a restart."""
        assert self._endpoints is not None, "it was never started"
        return self._endpoints

    def start(self) -> Endpoints:
        """Starts it, on the data directory and ports it had; returns when it is ready."""
        assert self._program is None or not self._program.running, "it runs already"
        self._program = Program(
            [WATCHWORD, "serve", "--data", self.data, "--port", str(self._first_port), *self._arguments],
            name="watchword",
            directory=self.data.parent,
            environment=self._environment,
        )
        try:
            self._endpoints = Endpoints.parse(self._program.wait_for_line())
        except BaseException:
            self._program.kill()
            raise
        return self._endpoints

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self.program.stop()

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing flushed."""
        self.program.kill()

    def restart(self) -> None:
        """Stops it as an operator would, and starts it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and says nothing."""
        self.program.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self.program.thaw()

    def command(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `watchword ARGUMENTS --data DIR`; with `check`, fails with its output unless it succeeds."""
        return run([WATCHWORD, *arguments, "--data", self.data], environment=self._environment, check=check)

    def apply(self, rules: Path) -> None:
        """`watchword apply`; in force when it returns."""
        self.command("apply", rules)

    def enrollment_token(self, *options: str) -> str:
        """`watchword token enroll`: the token, for one use by default."""
        return self.command("token", "enroll", *options).stdout.splitlines()[-1]

    def devices(self) -> list[dict[str, Any]]:
        """`watchword devices list --json`."""
        return _json_list(self.command("devices", "list", "--json"))

    def revoke(self, device_id: str) -> None:
        """`watchword devices revoke`; in force when it returns."""
        self.command("devices", "revoke", device_id)

    def approve(self, device_id: str) -> None:
        """`watchword devices approve`; in force when it returns."""
        self.command("devices", "approve", device_id)

    def results(self) -> list[dict[str, Any]]:
        """`watchword results --json`."""
        return _json_list(self.command("results", "--json"))

    def explain(self, decision_id: str) -> dict[str, Any]:
        """`watchword explain --json`: a recent decision as the decision log has it."""
        explanation: dict[str, Any] = json.loads(self.command("explain", decision_id, "--json").stdout)
        return explanation


def _json_list(completed: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    try:
        values = json.loads(completed.stdout)
    except ValueError as error:
        raise ProgramError(f"{completed.args} wrote no JSON: {completed.stdout!r}") from error
    assert isinstance(values, list), f"{completed.args} wrote no list: {completed.stdout!r}"
    return values
