"""Enrolling without anybody at the device: a management system drops a token, and the agent uses it when it starts."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from watchword_agent import log
from watchword_agent.backoff import Backoff, Uniform, system_uniform
from watchword_agent.errors import EnrollmentRefusedError, NotEnrolledError, ServerError
from watchword_agent.settings import Settings
from watchword_agent.state import StateDirectory

_MAX_TOKEN_BYTES: Final = 4096


async def enroll_if_told(
    settings: Settings,
    enroll: Callable[[str], Awaitable[object]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    uniform: Uniform = system_uniform,
) -> None:
    """Enrolls by the token of `enroll_token_file`, unless the device is enrolled; tries until it is, and removes the file.

    A token that is refused is tried again slowly, for an operator may yet approve it; the file is read anew each time. Raises
    `NotEnrolledError` where there is no token, `OperatorError`.
    """
    file = settings.enroll_token_file
    if file is None or _is_enrolled(settings):
        return
    trouble = Backoff(settings.reconnect_base_seconds, settings.reconnect_cap_seconds, uniform)
    refusal = Backoff(settings.refused_base_seconds, settings.refused_cap_seconds, uniform)
    while True:
        token = _read(file)
        try:
            await enroll(token)
        except (ServerError, EnrollmentRefusedError) as error:
            delay = (refusal if isinstance(error, EnrollmentRefusedError) else trouble).next()
            log.warning(log.Event.ENROLLMENT_FAILED, detail=str(error), retry_seconds=delay)
            await sleep(delay)
            continue
        log.info(log.Event.ENROLLED, token_file=file)
        with contextlib.suppress(OSError):  # its uses are counted by the server: what stays there is of little worth
            file.unlink()
        return


def _is_enrolled(settings: Settings) -> bool:
    try:
        StateDirectory(settings.state_dir).enrollment()
    except NotEnrolledError:
        return False
    return True


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MAX_TOKEN_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotEnrolledError(f"not enrolled, and `enroll_token_file` gives no token: `{file}`: {error}") from error
