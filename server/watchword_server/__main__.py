"""The `watchword` command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

import importlib
import os
import warnings
from collections.abc import Mapping
from typing import Final

import click

# Before gRPC is imported: the server starts processes and runs no Python in them before they are another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# What the library thinks of certificates that strangers made is nobody's news; the verdict says what is wrong with them.
warnings.filterwarnings("ignore", module=r"watchword_server\.core\.certificates")

_COMMANDS: Final[Mapping[str, str]] = {
    "serve": "serve",
    "apply": "apply",
    "export": "export",
    "schema": "schema",
    "import": "imports",
    "rules": "rules",
    "token": "tokens",
    "certificate": "certificates",
    "devices": "devices",
    "results": "devices",
    "posture-log": "looking_back",
    "decisions": "looking_back",
    "signing-keys": "signing_keys",
    "audit": "audit",
    "revisions": "revisions",
    "explain": "explain",
    "expr": "expr",
    "doctor": "doctor",
    "migrate": "serve",
}


class _LazyGroup(click.Group):
    """Imports a command when it is named: `watchword token` should not wait for what only `serve` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = vars(importlib.import_module(f"watchword_server.cli.{module}"))
        command: click.Command = found.get(cmd_name.replace("-", "_")) or found[f"{cmd_name}_"]  # `import` is a word of Python's
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="watchword", message="watchword %(version)s")
def main() -> None:
    """Access decisions that rest on proof.

    stdout is data, stderr is talk. Commands reach the server through the socket in its data directory, or its store itself
    when no server runs.

    \b
    Exit codes:  0 done   1 refused or failed   2 wrong usage
    """


if __name__ == "__main__":
    main()
