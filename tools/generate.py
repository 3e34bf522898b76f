"""Generated files: the stubs of `proto/` and docs/settings.md. `--check` changes nothing and fails when one is not up to date."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeGuard, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from watchword_server.settings import ENV_PREFIX, Settings

ROOT: Final = Path(__file__).resolve().parents[1]
PROTOS: Final = (
    ("watchword/v1/posture.proto", True),
    ("watchword/v1/decision.proto", True),
    ("watchword/envoy/ext_authz.proto", False),
)  # has it a service of which stubs are wanted?


def main() -> int:
    """The exit code: 1 if `--check` found something that is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is not up to date")
    check: bool = parser.parse_args().check
    stale = []
    with tempfile.TemporaryDirectory() as directory:
        for path, content in generated(Path(directory)):
            target = ROOT / path
            if target.exists() and target.read_text() == content:
                continue
            stale.append(path)
            if not check:
                target.write_text(content)
                print(f"wrote {path}")
    if check and stale:
        print(f"not up to date, run `make proto`: {', '.join(stale)}", file=sys.stderr)
    return int(check and bool(stale))


def generated(directory: Path) -> Iterator[tuple[str, str]]:
    """Each generated file and what it should hold, the stubs first."""
    yield from stubs(directory)
    yield "docs/settings.md", settings_page()


def stubs(directory: Path) -> Iterator[tuple[str, str]]:
    """Each generated file of `proto/` and what it should hold."""
    for proto, has_service in PROTOS:
        outputs = [f"--python_out={directory}", f"--pyi_out={directory}"]
        if has_service:
            outputs += [f"--grpc_python_out={directory}", f"--mypy_grpc_out=quiet:{directory}"]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), *outputs, str(ROOT / "proto" / proto)],
            check=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"},  # the plugin
        )
    for file in sorted(directory.rglob("*.py*")):
        yield f"proto/{file.relative_to(directory)}", file.read_text()


def settings_page() -> str:
    """docs/settings.md."""
    from watchword_agent.settings import ENVIRONMENT_PREFIX  # noqa: PLC0415 -- it needs the stubs, which are written by now
    from watchword_agent.settings import Settings as AgentSettings  # noqa: PLC0415

    lines = [
        "# Settings of `watchword serve`",
        "",
        "<!-- Generated from server/watchword_server/settings.py by `make proto`; change it there. -->",
        "",
        "In `watchword.toml` in the data directory or `--config FILE`; each also as a variable of the environment, which goes",
        "first. An unknown key or variable is an error at start.",
        "",
        "```toml",
        "port = 7400",
        "",
        "[agents]",
        'host = "0.0.0.0"',
        'tls = { certificate = "/etc/watchword/tls/server.pem", private_key = "/etc/watchword/tls/server.key" }',
        "",
        "[limits]",
        "max_streams = 20000",
        "```",
        "",
        "| setting | default | | variable |",
        "|---|---|---|---|",
        *(f"| `{name}` | {default} | {text} | `{variable(name)}` |" for name, default, text in rows(Settings, "")),
        "",
        "# Settings of `watchword-agent`",
        "",
        "In a TOML file that `--config` or `WATCHWORD_AGENT_CONFIG` names; a variable of the environment goes first, an option",
        "of the command line before that. An unknown key or variable is an error at start.",
        "",
        "| setting | default | | variable |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {default} | {text} | `{ENVIRONMENT_PREFIX}{name.upper()}` |"
            for name, default, text in rows(AgentSettings, "")
        ),
    ]
    return "\n".join(lines) + "\n"


def rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each setting."""
    for name, field in model.model_fields.items():
        group = next((kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)), None)
        if group is not None:
            yield from rows(group, f"{prefix}{name}.")
            continue
        yield (
            f"{prefix}{name}",
            shown(field.default),
            " ".join(part for part in (field.description, bounds(field.metadata)) if part),
        )


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def shown(default: object) -> str:
    """A default as the table has it."""
    match default:
        case None:
            return "unset"
        case bool():
            return f"`{str(default).lower()}`"
        case int() | float():
            return f"`{default:g}`" if default < 10_000 else f"`{default:_}`"
        case _ if default is PydanticUndefined:
            return "unset"
        case _:
            return f"`{default}`"


def bounds(metadata: list[Any]) -> str:
    """The bounds of a number, in words."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    found = [
        f"{word} {getattr(bound, key):,}"
        for key, word in words.items()
        for bound in metadata
        if getattr(bound, key, None) is not None
    ]
    return f"({', '.join(found)})" if found else ""


def variable(name: str) -> str:
    """The environment's name for a setting."""
    return ENV_PREFIX + name.upper().replace(".", "__")


if __name__ == "__main__":
    sys.exit(main())
