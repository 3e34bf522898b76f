"""Who may import whom. The house stays readable only while these hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"watchword": ROOT / "proto", "watchword_server": ROOT / "server", "watchword_agent": ROOT / "agent"}
GENERATED = ("_pb2.py", "_pb2_grpc.py")

# What each room of the server may import of the house, besides `watchword.envelope` and `watchword.possession`.
ROOMS = {
    "core": {"core", "errors"},
    "ports": {"core", "errors"},
    "configuration": {"configuration", "core", "errors", "ports"},
    "rehearsal": {"rehearsal", "configuration", "core", "errors", "ports", "services.facts", "services.replaying"},
    "importing": {"importing", "configuration", "core", "errors"},
    "services": {"services", "acting", "configuration", "core", "errors", "events", "ports"},
    "adapters": {"adapters", "acting", "core", "errors", "events", "ports"},
    "revocation_reader": {"revocation_reader", "core", "errors"},
    "inspection": {"inspection", "core"},
    "doors": {"doors", "acting", "services", "configuration", "core", "errors", "events", "peer", "ports", "adapters.metrics"},
    "transports": {"transports", "doors.status", "errors", "events", "peer"},
    "cli": {
        "cli",
        "app",
        "house",
        "configuration",
        "settings",
        "errors",
        "events",
        "peer",
        "transports",
        "adapters.signing_keys",
        "adapters.store_sql",
        "rehearsal",
        "importing",
        "inspection",
        "core",
    },
}
# What the core must not touch: no transport, no ORM, no validation library, no clock, no chance, no outside.
KEPT_OUT_OF_CORE = {
    "alembic", "asyncio", "cachetools", "fastapi", "google", "grpc", "logging", "os", "pathlib", "prometheus_client", "pydantic",
    "random", "secrets", "socket", "sqlalchemy", "starlette", "structlog", "time", "uvicorn",
}  # fmt: skip
WIRE = ("watchword.v1", "watchword.envoy")


def modules(package: str) -> Iterator[tuple[str, set[str]]]:
    """Each module of a package and all it imports, by full name."""
    source = SOURCES[package]
    for path in sorted((source / package).rglob("*.py")):
        if path.name.endswith(GENERATED):
            continue
        name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        yield name, set(imports(ast.parse(path.read_text())))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, place: str) -> bool:
    return name == place or name.startswith(place + ".")


@pytest.mark.parametrize("package", ["watchword_server", "watchword_agent", "watchword"])
def test_agent_and_server_share_only_the_contract(package: str) -> None:
    allowed = {"watchword_server": {"watchword", "watchword_server"}, "watchword_agent": {"watchword", "watchword_agent"}}
    for name, imported in modules(package):
        ours = {module.split(".")[0] for module in imported} & SOURCES.keys()
        assert ours <= allowed.get(package, {"watchword"}), name


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    wrong = [
        f"{name} imports {module}"
        for name, imported in modules("watchword_server")
        if within(name, f"watchword_server.{room}")
        for module in imported
        if within(module, "watchword_server") and module != "watchword_server"
        if not any(within(module, f"watchword_server.{place}") for place in ROOMS[room])
        if module not in {f"watchword_server.{place.split('.')[0]}" for place in ROOMS[room]}
    ]
    assert not wrong


def test_the_core_reaches_for_nothing_outside() -> None:
    for name, imported in modules("watchword_server"):
        if within(name, "watchword_server.core"):
            assert not {module.split(".")[0] for module in imported} & KEPT_OUT_OF_CORE, name


def test_wire_messages_stop_at_the_doors() -> None:
    for name, imported in modules("watchword_server"):
        if any(within(module, wire) for module in imported for wire in WIRE):
            assert within(name, "watchword_server.doors") or name == "watchword_server.app", name


def test_only_the_house_and_the_app_name_concrete_adapters() -> None:
    for name, imported in modules("watchword_server"):
        if any(within(module, "watchword_server.adapters") for module in imported) and not within(
            name, "watchword_server.adapters"
        ):
            named = {module for module in imported if within(module, "watchword_server.adapters")}
            harmless = {"watchword_server.adapters.metrics", "watchword_server.adapters.metrics.Metrics"}
            assert name == "watchword_server.house" or within(name, "watchword_server.cli") or named <= harmless, name


def test_only_decide_says_allow() -> None:
    """A newcomer who looks for the deciding line finds it in one file."""
    for name, _ in modules("watchword_server"):
        if within(name, "watchword_server.services") or within(name, "watchword_server.doors"):
            text = (SOURCES["watchword_server"] / Path(*name.split("."))).with_suffix(".py")
            if text.exists():
                assert "Outcome.ALLOW" not in text.read_text(), name


def test_envelope_and_possession_need_the_standard_library_alone() -> None:
    standard = {"base64", "hashlib", "re", "typing"}
    for name, imported in modules("watchword"):
        if name in {"watchword.envelope", "watchword.possession"}:
            assert {module.split(".")[0] for module in imported} <= standard, name
