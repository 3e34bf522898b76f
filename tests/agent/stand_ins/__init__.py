"""Libraries of other systems, stood in for by C of the same symbols: the agent's calls into them run here for real."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from support.programs import program
from watchword_agent.helper_process import Helpers

HERE = Path(__file__).parent


@cache
def library(name: str) -> Path:
    """The compiled stand-in. Needs the program `cc`, with OpenSSL's headers."""
    path = Path(mkdtemp(prefix="stand-in-")) / f"{name}.so"
    command = [str(program("cc")), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(path), str(HERE / f"{name}.c")]
    done = subprocess.run([*command, "-lcrypto"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}(apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev)"
    return path


def helpers(name: str, **environment: str) -> Helpers:
    """Helpers that find the stand-in where the system's libraries would be."""
    usual = Helpers()
    command = tuple(str(HERE / "start.py") if word.endswith("__main__.py") else word for word in usual.command)
    return Helpers(command, {**usual.environment, "STAND_IN_LIBRARY": str(library(name)), **environment})
