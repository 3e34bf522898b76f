"""Typical expressions: parsed, compiled and evaluated, beside the same condition written in Python by hand and in CEL.

The one in Python is the floor: no checks, no missing values. CEL gets its values converted beforehand. Example:
python -m benchmarks.language --seconds 5
"""

import importlib
import ipaddress
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from benchmarks.measure import Call, arguments, report, settle, table, talk, time_in_turns
from watchword_server.core.language.compile import compile_expression
from watchword_server.core.language.gateway import gateway_scheme
from watchword_server.core.language.parse import parse
from watchword_server.core.language.scheme import Limits

Scene = Mapping[Hashable, Any]


@dataclass(frozen=True, slots=True)
class Typical:
    """An expression, the same by hand, and the same in CEL, where CEL has it."""

    name: str
    part: Literal["traffic", "identity", "device_posture"]
    text: str
    by_hand: Callable[[Scene], bool]
    cel: str | None


_PROBING: Final = re.compile(rb"^/(wp-admin|cgi-bin|\.git|\.env)(/|$)")
_BAD_NETWORK: Final = (int(ipaddress.IPv4Address("198.51.100.0")), int(ipaddress.IPv4Address("198.51.100.255")))
_STAFF: Final = frozenset({b"employees", b"contractors"})
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST"})

TYPICAL: Final = (
    Typical(
        "host ==",
        "traffic",
        'http.request.host == "app7.corp.test"',
        lambda scene: scene["http.request.host"] == b"app7.corp.test",
        'host == "app7.corp.test"',
    ),
    Typical(
        "host == and method in",
        "traffic",
        'http.request.host == "app7.corp.test" and http.request.method in {"GET" "HEAD" "POST"}',
        lambda scene: scene["http.request.host"] == b"app7.corp.test" and scene["http.request.method"] in _METHODS,
        'host == "app7.corp.test" && method in ["GET", "HEAD", "POST"]',
    ),
    Typical(
        "path matches",
        "traffic",
        r'http.request.uri.path matches "^/(wp-admin|cgi-bin|\.git|\.env)(/|$)"',
        lambda scene: _PROBING.search(scene["http.request.uri.path"]) is not None,
        r'path.matches("^/(wp-admin|cgi-bin|\\.git|\\.env)(/|$)")',
    ),
    Typical(
        "path wildcard",
        "traffic",
        'http.request.uri.path wildcard "/projects/*"',
        lambda scene: scene["http.request.uri.path"].lower().startswith(b"/projects/"),
        'path.startsWith("/projects/")',
    ),
    Typical(
        "address in network",
        "traffic",
        "http.conn.src_ip in {198.51.100.0/24}",
        lambda scene: scene["http.conn.src_ip"][0] == 4 and _BAD_NETWORK[0] <= scene["http.conn.src_ip"][1] <= _BAD_NETWORK[1],
        None,
    ),
    Typical(
        "any group in",
        "identity",
        'any(identity.groups[*].name in {"employees" "contractors"})',
        lambda scene: any(group[b"name"] in _STAFF for group in scene["identity.groups"]),
        'groups.exists(group, group.name in ["employees", "contractors"])',
    ),
    Typical(
        "no check passed in",
        "device_posture",
        'not(any(device_posture.checks.passed[*] in {"corp-certificate"}))',
        lambda scene: b"corp-certificate" not in scene["device_posture.checks.passed"],
        'passed.all(check, check != "corp-certificate")',
    ),
)


def main() -> None:
    options = arguments(__doc__, seconds=0.5).parse_args()
    scenes = [_scene(number) for number in range(16)]
    cel = _Cel(scenes)
    figures: dict[str, dict[str, float]] = {}
    for typical in TYPICAL:
        talk(f"timing `{typical.name}`")
        settle()
        timings = time_in_turns(_subjects(typical, scenes, cel), seconds=options.seconds)
        figures[typical.name] = {f"{what}_us": timing.batch for what, timing in timings.items()}
    report("language", {"figures": figures}, as_json=options.json, text=_text(figures))


def _subjects(typical: Typical, scenes: list[Scene], cel: "_Cel") -> dict[str, list[Call]]:
    scheme = gateway_scheme("http", typical.part, Limits(), missing_not_equal=True)
    expression = parse(typical.text, scheme)
    holds = compile_expression(expression, lists={}, keys={})
    right = [typical.by_hand(scene) for scene in scenes]
    if [holds(scene) for scene in scenes] != right or len(set(right)) != 2:
        raise SystemExit(f"`{typical.name}` does not say what it says by hand, or says the same of every scene")
    subjects: dict[str, list[Call]] = {
        "parse": [partial(parse, typical.text, scheme)],
        "compile": [partial(compile_expression, expression, lists={}, keys={})],
        "evaluate": [partial(holds, scene) for scene in scenes],
        "by_hand": [partial(typical.by_hand, scene) for scene in scenes],
    }
    if typical.cel is not None:
        calls = cel.evaluations(typical.cel)
        if [call() for call in calls] != right:
            raise SystemExit(f"`{typical.name}` says something else in CEL")
        subjects |= {"cel_compile": [partial(cel.compile, typical.cel)], "cel_evaluate": calls}
    return subjects


class _Cel:
    """CEL in C++, with the scenes in its own values."""

    def __init__(self, scenes: list[Scene]) -> None:
        cel: Any = importlib.import_module("cel_expr_python.cel")
        text, kinds = cel.Type.STRING, cel.Type
        kind_of = {
            "host": text,
            "method": text,
            "path": text,
            "groups": kinds.List(kinds.Map(text, text)),
            "passed": kinds.List(text),
        }
        self._environment = cel.NewEnv(variables=kind_of)
        self._activations = [self._environment.Activation(_as_text(scene)) for scene in scenes]

    def compile(self, text: str) -> object:
        """Parses, checks and compiles."""
        return self._environment.compile(text)

    def evaluations(self, text: str) -> list[Call]:
        """A call a scene."""
        expression = self._environment.compile(text)
        return [partial(lambda activation: expression.eval(activation).value() is True, each) for each in self._activations]


def _scene(number: int) -> Scene:
    """Each expression is true of some scenes and not of others."""
    group = b"employees" if number % 2 else b"guests"
    return {
        "http.request.host": b"app7.corp.test" if number % 2 else b"app%d.corp.test" % (1000 + number),
        "http.request.method": b"GET",
        "http.request.uri.path": b"/%b/%032d" % (b".git" if number % 4 == 0 else b"projects", number),
        "http.conn.src_ip": (4, (198 << 24 if number % 2 else 10 << 24) + (51 << 16) + (100 << 8) + number),
        "identity.groups": tuple(
            {b"id": b"%032x" % at, b"name": name, b"email": name + b"@corp.example"}
            for at, name in enumerate((b"everyone", b"team-%d" % number, b"engineering", group, b"site-1"))
        ),
        "device_posture.checks.passed": (
            b"disk-encryption",
            b"corp-certificate" if number % 2 else b"antivirus",
            b"hardware-key",
        ),
    }


def _as_text(scene: Scene) -> dict[str, Any]:
    return {
        "host": scene["http.request.host"].decode(),
        "method": scene["http.request.method"].decode(),
        "path": scene["http.request.uri.path"].decode(),
        "groups": [{key.decode(): value.decode() for key, value in group.items()} for group in scene["identity.groups"]],
        "passed": [check.decode() for check in scene["device_posture.checks.passed"]],
    }


def _text(figures: Mapping[str, Mapping[str, float]]) -> str:
    header = ["µs", "parse", "compile", "cel: both", "evaluate", "by hand", "cel", "evaluate to by hand", "evaluate to cel"]
    rows: list[list[object]] = []
    for name, figure in figures.items():
        cel = figure.get("cel_evaluate_us")
        rows.append(
            [
                *(name, figure["parse_us"], figure["compile_us"], figure.get("cel_compile_us")),
                *(figure["evaluate_us"], figure["by_hand_us"], cel),
                f"{figure['evaluate_us'] / figure['by_hand_us']:.1f}x",
                None if cel is None else f"{figure['evaluate_us'] / cel:.2f}x",
            ]
        )
    return table(header, rows)


if __name__ == "__main__":
    main()
