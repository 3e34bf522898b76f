"""Runs in the Windows Python: calls a function of the agent, as an order in JSON on standard input says.

Packages in C or Rust do not load under Wine: protobuf runs in pure Python, and a package whose `__init__` imports others is a
bare one here. What it answers, or `[class, code or text]` of what it raises, is JSON on standard output.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import watchword_agent

BARE = ("watchword_agent.stores",)


def main() -> None:
    order = json.load(sys.stdin)
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    for name in BARE:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(Path(watchword_agent.__path__[0], *name.split(".")[1:]))]
    function: Any = importlib.import_module(order["module"])
    for name in order["call"].split("."):
        function = getattr(function, name)
    try:
        answer = {"returned": plain(function(*map(meant, order["arguments"])))}
    except Exception as error:  # noqa: BLE001 -- told
        answer = {"raised": [type(error).__name__, str(getattr(error, "code", error))]}
    sys.stdout.write(json.dumps(answer))


def meant(argument: Any) -> Any:
    """`{"path": …}` is a path."""
    return Path(argument["path"]) if isinstance(argument, dict) and argument.keys() == {"path"} else argument


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return value if isinstance(value, (str, int, bool, list, tuple, type(None))) else str(value)


if __name__ == "__main__":
    main()
