"""The agent as a service of the system: a unit of systemd, a daemon of launchd, each one file; a service of Windows."""

import contextlib
import plistlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchword_agent import windows_service
from watchword_agent.errors import OperatorError
from watchword_agent.state import write_atomically

_SYSTEMD: Final = Path("/etc/systemd/system/watchword-agent.service")
_LAUNCHD: Final = Path("/Library/LaunchDaemons/com.watchword.agent.plist")
_STOP_TRIES: Final = 60
_STOP_PAUSE_SECONDS: Final = 0.5
_LABEL: Final = "com.watchword.agent"

_UNIT: Final = """\
[Unit]
Description=Watchword agent
Documentation=man:watchword-agent(1)
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={command}
Restart=always
RestartSec=5
StateDirectory=watchword-agent
StateDirectoryMode=0700
UMask=0077
MemoryMax=256M
TasksMax=64
# Root reads the firmware's serial number and keys of 0600; a helper becomes the owner of a user's database.
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_SETUID CAP_SETGID CAP_KILL
NoNewPrivileges=true
ProtectSystem=strict
ProtectHome=read-only
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
PrivateTmp=true
LockPersonality=true
MemoryDenyWriteExecute=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """What is written where, and what makes the system notice; `undo` before it is removed."""

    path: Path
    content: bytes
    apply: tuple[tuple[str, ...], ...]
    undo: tuple[tuple[str, ...], ...]


def service_command(platform: str, *, config: Path | None, state_dir: Path) -> list[str]:
    """What the system is to run."""
    program = Path(sys.executable).with_name("watchword-agent.exe" if platform == "windows" else "watchword-agent")
    command = [str(program), "run", *(("--service",) if platform == "windows" else ()), "--state", str(state_dir)]
    return command if config is None else [*command, "--config", str(config.absolute())]


def service_file(platform: str, *, config: Path | None, state_dir: Path) -> ServiceFile:
    """The file for this platform. Raises `OperatorError` where there is none."""
    command = service_command(platform, config=config, state_dir=state_dir)
    match platform:
        case "linux":
            content = _UNIT.format(command=" ".join(map(_unit_word, command))).encode()
            reload, name = ("systemctl", "daemon-reload"), _SYSTEMD.name
            return ServiceFile(
                _SYSTEMD,
                content,
                (reload, ("systemctl", "enable", "--now", name)),
                (("systemctl", "disable", "--now", name), reload),
            )
        case "mac":
            content = plistlib.dumps(
                {
                    "Label": _LABEL,
                    "ProgramArguments": command,
                    "RunAtLoad": True,
                    "KeepAlive": True,
                    "ProcessType": "Background",
                    "Umask": 0o077,
                    "StandardErrorPath": "/var/log/watchword-agent.log",
                }
            )
            return ServiceFile(
                _LAUNCHD,
                content,
                (("launchctl", "bootstrap", "system", str(_LAUNCHD)),),
                (("launchctl", "bootout", f"system/{_LABEL}"),),
            )
        case _:
            raise OperatorError(f"there is no service for `{platform}` yet: have its own tools run `{shlex.join(command)}`")


def install(file: ServiceFile, root: Path) -> bool:
    """Writes the file below `root`, and has the system take it where that is `/`; whether it was not there as it is.

    Raises `OperatorError`.
    """
    target = root / file.path.relative_to("/")
    new = not target.exists() or target.read_bytes() != file.content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, file.content)
        target.chmod(0o644)
    except OSError as error:
        raise OperatorError(f"cannot write `{target}`: {error.strerror}; run it as root") from error
    if root == Path("/"):
        _run(file.apply)
    return new


def uninstall(file: ServiceFile, root: Path) -> bool:
    """Stops the service and removes the file; whether there was one. What enrolling made stays. Raises `OperatorError`."""
    target = root / file.path.relative_to("/")
    if not target.exists():
        return False
    if root == Path("/"):
        _run(file.undo[:1])
    try:
        target.unlink()
    except OSError as error:
        raise OperatorError(f"cannot remove `{target}`: {error.strerror}; run it as root") from error
    if root == Path("/"):
        _run(file.undo[1:])
    return True


def install_on_windows(command: Sequence[str]) -> bool:
    """Has Windows run the command, now and at each start; whether the service was not there. Raises `OperatorError`."""
    is_there = _windows_state() is not None
    if is_there:
        _stop_on_windows()
    _run(windows_service.install_commands(command, is_there=is_there))
    return not is_there


def uninstall_on_windows() -> bool:
    """Stops the service and has Windows forget it; whether there was one. Raises `OperatorError`."""
    if _windows_state() is None:
        return False
    _stop_on_windows()
    _run([windows_service.DELETE])
    return True


def _windows_state() -> int | None:
    """The state of the service as a number of SERVICE_STATUS; None: there is none."""
    try:
        told = subprocess.run(windows_service.QUERY, capture_output=True, text=True, check=False)  # noqa: S603 -- words of ours
    except OSError as error:
        raise OperatorError(f"`{shlex.join(windows_service.QUERY)}`: {error.strerror}") from error
    return windows_service.state_in(told.stdout) if told.returncode == 0 else None


def _stop_on_windows() -> None:
    """Returns once it is stopped: one that is still stopping cannot be started."""
    for _ in range(_STOP_TRIES):
        if _windows_state() in (None, windows_service.STOPPED):
            return
        with contextlib.suppress(OperatorError):  # it is stopping already
            _run([windows_service.STOP])
        time.sleep(_STOP_PAUSE_SECONDS)
    raise OperatorError(f"`{windows_service.NAME}` does not stop: see its log in the state directory")


def _unit_word(word: str) -> str:
    """As systemd reads a word of a command line (systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(character.isspace() for character in word) else escaped


def _run(commands: Iterable[Sequence[str]]) -> None:
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- words of ours
        except OSError as error:
            raise OperatorError(f"`{shlex.join(command)}`: {error.strerror}") from error
        if done.returncode:
            raise OperatorError(f"`{shlex.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
