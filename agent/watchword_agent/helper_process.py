"""Helper processes: foreign libraries hang and crash there, not in the agent. JSON lines over their standard input and output.

A helper is a module of `watchword_agent.native`, which uses nothing but the standard library and `watchword.possession`. It
answers each request by `{"ok": …}` or `{"error": {"code": …, "detail": …}}`, and ends when its standard input does.
"""

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from watchword import possession
from watchword_agent.errors import CollectionFailedError

_MAIN: Final = Path(__file__).parent / "native" / "__main__.py"
# Where the two packages lie that a helper may import: in an editable install not the same place.
_ROOTS: Final = tuple(dict.fromkeys(str(Path(file).resolve().parents[1]) for file in (__file__, possession.__file__)))
_MAX_ANSWER_BYTES: Final = 32 * 2**20
_ANSWER_SECONDS: Final = 10.0
_ENDING_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Helpers:
    """How helpers are started: with this interpreter, isolated from its environment and packages."""

    command: tuple[str, ...] = (sys.executable, "-I", "-S", str(_MAIN), *_ROOTS)
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.defpath, "LANG": "C.UTF-8"})
    answer_seconds: float = _ANSWER_SECONDS

    def start(self, helper: str, *, user: int | None = None, group: int | None = None) -> "HelperProcess":
        """A running helper, by the name of its module; as another user where that is asked, which only root can.

        Raises `CollectionFailedError` (`helper_unavailable`).
        """
        return HelperProcess(self, helper, user=user, group=group)


class HelperProcess:
    """A helper that takes requests one after the other. Of one thread; leaving it as a context ends it, whatever it does."""

    def __init__(self, helpers: Helpers, helper: str, *, user: int | None = None, group: int | None = None) -> None:
        self._answer_seconds = helpers.answer_seconds
        self._helper = helper
        options: dict[str, Any] = {} if user is None else {"user": user, "group": group, "extra_groups": []}
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NO_WINDOW  # a user who runs the agent sees no console flash up
        else:
            options["start_new_session"] = True  # what it starts ends with it
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and file, by a name of ours
                [*helpers.command, "--", helper],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # modules talk there; nothing of it is meant for a server
                env={**os.environ, **helpers.environment} if sys.platform == "win32" else dict(helpers.environment),
                cwd="/" if sys.platform != "win32" else None,
                **options,
            )
        except OSError as error:
            raise CollectionFailedError("helper_unavailable", f"cannot start the helper `{helper}`: {error.strerror}") from error
        _RUNNING.add(self)
        self._stdin: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # pipes, as asked for
        self._stdout: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self._answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, name=f"helper {helper}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.end()

    def ask(self, request: Mapping[str, Any], *, seconds: float | None = None) -> dict[str, Any]:
        """Its answer. After a failure that is the helper's own, and not an answer, it has ended.

        Raises `CollectionFailedError`: `helper_timeout`, `helper_crashed`, or with the code and detail of its answer.
        """
        line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(OSError):  # it is gone: reading says so
            self._stdin.write(line)
            self._stdin.flush()
        try:
            answer = self._answers.get(timeout=self._answer_seconds if seconds is None else seconds)
        except queue.Empty:
            self.end()
            raise CollectionFailedError("helper_timeout", f"the helper `{self._helper}` did not answer") from None
        return self._understood(answer)

    def next(self, *, seconds: float | None = None) -> dict[str, Any] | None:
        """What it says unasked, such as that a store changed; None: nothing within these seconds. Raises as `ask`."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None
        return self._understood(answer)

    def end(self) -> None:
        """Ends it and what it started: kindly, then not."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it and what it started, at once and without waiting."""
        _RUNNING.discard(self)
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _understood(self, answer: bytes) -> dict[str, Any]:
        try:
            content = json.loads(answer)
            if "error" in content:
                failure = CollectionFailedError(str(content["error"]["code"]), str(content["error"]["detail"]))
            elif isinstance(content["ok"], dict):
                ok: dict[str, Any] = content["ok"]
                return ok
            else:
                raise ValueError("no object")
        except (ValueError, KeyError, TypeError):
            status = self._process.poll()
            self.end()
            how = "ended" if not answer else "said what is not understood"
            told = "" if status is None else f" (exit status {status})"
            raise CollectionFailedError("helper_crashed", f"the helper `{self._helper}` {how}{told}") from None
        raise failure

    def _read(self) -> None:
        """An empty line in the queue: it will say nothing more."""
        with self._stdout:
            while line := self._stdout.readline(_MAX_ANSWER_BYTES):
                self._answers.put(line)
        self._answers.put(b"")


_RUNNING: Final[set[HelperProcess]] = set()


@atexit.register
def _kill_all() -> None:
    """A helper that hangs in a library does not notice that nobody listens any more, and would outlive the agent."""
    for process in tuple(_RUNNING):
        process.kill()


def requests_of(helper: str, requests: Sequence[Mapping[str, Any]], helpers: Helpers) -> list[dict[str, Any]]:
    """The answers of a helper that is started for these requests alone. Raises `CollectionFailedError`."""
    with helpers.start(helper) as process:
        return [process.ask(request) for request in requests]
