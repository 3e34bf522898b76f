"""Real programs under test: each in a session of its own, ended by its own id, waited for by what it does and never by a nap.

Output goes to files in the program's directory, so that nothing blocks on a full pipe and a failed test shows it.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

START_SECONDS: Final = 20.0  # generous: a loaded machine is slow, a broken program is noticed at once by its exit
_POLL_SECONDS: Final = 0.005
_TAIL_CHARACTERS: Final = 4000
# Below the kernel's ephemeral range (32768 and up): a client that connects to a port of that range while nobody listens
# there can be given that very port as its own and so connect to itself.
_PORTS: Final = range(15_000, 32_000)
_handed_out: set[int] = set()


class ProgramError(AssertionError):
    """A program did not start, did not do what was waited for, or did not end; the message carries what it wrote."""


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = START_SECONDS) -> None:
    """Returns as soon as `condition()` is true. Raises `ProgramError` after `seconds`; `what` says what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ProgramError(f"not within {seconds:g} s: {what}")
        time.sleep(_POLL_SECONDS)


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there now."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def free_ports(count: int) -> range:
    """`count` consecutive ports of 127.0.0.1 that nobody listens on and that were not handed out before."""
    for _ in range(1000):
        first = random.randrange(_PORTS.start, _PORTS.stop - count)
        ports = range(first, first + count)
        if _handed_out.isdisjoint(ports) and all(map(_is_free, ports)):
            _handed_out.update(ports)
            return ports
    raise ProgramError(f"no {count} consecutive free ports")


def free_port() -> int:
    """One port of `free_ports`."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Program:
    """A started program. As a context manager it is ended, whatever happened, when the block ends.

    `arguments[0]` is the program's path. `environment` is added to ours. stdout and stderr are appended to
    `directory/name.stdout` and `.stderr`.
    """

    def __init__(
        self, arguments: Sequence[str | Path], *, name: str, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._group_ended = False
        self._arguments = [str(argument) for argument in arguments]
        self._stdout_path = directory / f"{name}.stdout"
        self._stderr_path = directory / f"{name}.stderr"
        self._stdout_start = self._stdout_path.stat().st_size if self._stdout_path.exists() else 0
        with self._stdout_path.open("ab") as stdout, self._stderr_path.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # its process group is its own: what it starts ends with it
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id, which is also that of its session and process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None: it runs; negative: by that signal."""
        return self._process.poll()

    def stdout(self) -> str:
        """What this run wrote to standard output so far."""
        return self._stdout_path.read_bytes()[self._stdout_start :].decode(errors="replace")

    def stderr(self) -> str:
        """What it wrote to standard error so far, runs before in the same directory included."""
        return self._stderr_path.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], *, what: str, seconds: float = START_SECONDS) -> None:
        """As `wait_until`; fails at once, with the program's output, if it ends before the condition is true."""

        def met() -> bool:
            if condition():
                return True
            if not self.running:
                raise ProgramError(f"`{self.name}` ended with {self.exit_code} before {what}\n{self._tail()}")
            return False

        try:
            wait_until(met, what=what, seconds=seconds)
        except ProgramError as error:
            if error.args[0].startswith("not within"):
                raise ProgramError(f"`{self.name}`: {error}\n{self._tail()}") from None
            raise

    def wait_for_port(self, port: int) -> None:
        """Returns when it accepts connections on a port of 127.0.0.1."""
        self.wait_until(lambda: accepts_connections(port), what=f"it listens on port {port}")

    def wait_for_line(self, wanted: Callable[[str], bool] = bool) -> str:
        """The first complete line of this run's standard output that `wanted` takes; by default the first that is not empty."""
        found: list[str] = []

        def seen() -> bool:
            found[:] = [line for line in _complete_lines(self.stdout()) if wanted(line)][:1]
            return bool(found)

        self.wait_until(seen, what="it wrote the line waited for")
        return found[0]

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Its exit code, once it ended by itself."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"`{self.name}` did not end within {seconds:g} s\n{self._tail()}") from None

    def stop(self, seconds: float = 10.0) -> int:
        """Asks it to end (SIGTERM), then makes it; returns the exit code. Nothing happens if it ended before."""
        if self.running:
            self.thaw()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL, no goodbye, to it and to whatever it started; returns when it is gone."""
        if not self._group_ended:
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            self._group_ended = True  # from here on the id may belong to somebody else
        return self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: alive, connected, silent."""
        self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal_group(signal.SIGCONT)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # everything in the group has ended
            os.killpg(self.pid, number)

    def _tail(self) -> str:
        return f"--- stdout\n{self.stdout()[-_TAIL_CHARACTERS:]}\n--- stderr\n{self.stderr()[-_TAIL_CHARACTERS:]}"


def run(
    arguments: Sequence[str | Path], *, seconds: float = 60.0, environment: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs a short program to its end. With `check`, raises `ProgramError` with its output unless it exits with 0."""
    completed = subprocess.run(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if check and completed.returncode != 0:
        raise ProgramError(f"{completed.args} exited with {completed.returncode}\n{completed.stdout}\n{completed.stderr}")
    return completed


def _complete_lines(text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield line.rstrip("\n")
