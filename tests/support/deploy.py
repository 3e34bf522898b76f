"""The shipped proxy configurations as tests run them: the files under `deploy/`, with other addresses and paths and nothing else.

`render` is the one function that changes them. Whoever needs more than an address or a path to differ changes the shipped file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"

_PATH: Final = re.compile(r"(/[A-Za-z0-9._-]+)+")
_ADDRESS: Final = re.compile(r"[0-9.]*:[0-9]{2,5}|(?:[0-9]{1,3}\.){3}[0-9]{1,3}|address: [0-9.]+, port_value: [0-9]+")
_OURS_TO_REPLACE: Final = re.compile(rf"(?:{_ADDRESS.pattern}|(?<![\w./])/(?:etc|run|var)/[\w./-]+)")


def render(shipped: str, substitutions: Mapping[str, str]) -> str:
    """The text of `deploy/<shipped>` with each address or path replaced.

    A key is a literal of the shipped file: an absolute path that ends where it ends there, `host:port`, `host` or `:port`, or
    Envoy's `address: host, port_value: port`. A value is of the same kind. Raises `ValueError` for anything else, for a key that
    the file does not hold, and for an absolute path or address of the file that stays as it is.
    """
    for key, value in substitutions.items():
        if not any(kind.fullmatch(key) and kind.fullmatch(value) for kind in (_PATH, _ADDRESS)):
            raise ValueError(f"neither an address nor a path for the same: `{key}` -> `{value}`")
    text = (DEPLOY / shipped).read_text()
    literals = re.compile("|".join(_whole(key) for key in sorted(substitutions, key=len, reverse=True)))
    found: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        found.add(match.group())
        return substitutions[match.group()]

    rendered = literals.sub(replace, text)  # in one pass: what a substitution wrote is not substituted again
    if missing := substitutions.keys() - found:
        raise ValueError(f"not in deploy/{shipped}: {', '.join(sorted(missing))}")
    if left := set(_OURS_TO_REPLACE.findall(_without_comments(literals.sub("", text)))):
        raise ValueError(f"left as it is in deploy/{shipped}: {', '.join(sorted(left))}")
    return rendered


def _whole(key: str) -> str:
    """A pattern of the literal where it is not part of a longer one; an address may stand in a URL."""
    before, after = (r"(?<![\w./:-])", r"(?![\w/-]|\.\w)") if key.startswith("/") else (r"(?<![\w.:-])", r"(?![\w-]|\.\w)")
    return f"{before}{re.escape(key)}{after}"


def envoy_address(address: str) -> str:
    """`host:port` as Envoy's configuration writes it."""
    host, port = address.rsplit(":", 1)
    return f"address: {host}, port_value: {port}"


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)(^|\s)#.*$", "", text)
