"""What `watchword serve` refuses to start with: a clear word, exit code 1, nothing on stdout, and nothing held."""

import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import httpx
import pytest
import structlog
from click.testing import CliRunner

from faults.proxy import Proxy
from faults.rough import port_of
from server.operators import Operators
from support.pki import Pki
from support.processes import Program, free_ports, run
from support.server import WATCHWORD, Endpoints, WatchwordServer
from watchword_server.adapters.store_sql.data_directory import DataDirectory
from watchword_server.cli.serve import migrate, serve

SET_PORT: Final = free_ports(1)[0]


@dataclass(frozen=True, slots=True)
class Refused:
    """How a start ended."""

    exit_code: int
    stdout: str
    words: str  # of stderr, without the log


def start(data: Path, *arguments: str, environment: Mapping[str, str] | None = None, command: click.Command = serve) -> Refused:
    """Starts a server that is expected to end by itself; in this process, whose imports are paid for already."""
    handlers = logging.root.handlers[:]
    try:
        result = CliRunner().invoke(command, ["--data", str(data), *arguments], env=environment)
    finally:  # the command sets up logging for the whole of its process
        logging.root.handlers[:] = handlers
        structlog.reset_defaults()
    assert isinstance(result.exception, SystemExit), result.exception
    return Refused(result.exit_code, result.stdout, _words(result.stderr))


def _words(stderr: str) -> str:
    return "\n".join(line for line in stderr.splitlines() if not line.startswith("{"))


# ---- Settings ----------------------------------------------------------------------------------------------------------

SETTINGS: Final[dict[str, tuple[dict[str, str], Sequence[str]]]] = {
    "agents beyond loopback": ({"AGENTS__HOST": "0.0.0.0"}, ("agents", "`0.0.0.0` needs tls", "127.0.0.1")),
    "decisions beyond loopback": ({"DECISIONS__HOST": "::"}, ("decisions", "`::` needs tls")),
    "operators beyond loopback": ({"OPERATORS__HOST": "192.0.2.1"}, ("operators", "`192.0.2.1` needs tls")),
    "a host that is a name": ({"AGENTS__HOST": "localhost"}, ("`localhost` is not an ip address",)),
    "half of TLS": ({"AGENTS__TLS__CERTIFICATE": "/x"}, ("agents.tls.private_key", "required")),
    "an unknown name": ({"LIMIT__MAX_STREAMS": "1"}, ("unknown setting", "`watchword_limit__max_streams`")),
    "an unknown name inside": ({"LIMITS__MAX_STREAM": "1"}, ("limits.max_stream",)),
    "a number too small": ({"LIMITS__MAX_STREAMS": "0"}, ("limits.max_streams", "greater than or equal to 1")),
    "a number too large": ({"LIMITS__CHALLENGE_MAX_AGE_SECONDS": "61"}, ("limits.challenge_max_age_seconds", "60")),
    "no number": ({"AGENTS__PORT": "grpc"}, ("agents.port", "integer")),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_wrong_or_dangerous_are_refused_before_anything_is_touched(tmp_path: Path, name: str) -> None:
    environment, expected = SETTINGS[name]
    refused = start(tmp_path / "data", environment={f"WATCHWORD_{key}": value for key, value in environment.items()})
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Traceback" not in refused.words
    for words in ("settings are refused", *expected):
        assert words in refused.words.lower()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot = 7400", "prot"),
        ("[limits]\nmax_streams = 'many'", "limits.max_streams"),
        ("[agents]\nhost = '0.0.0.0'", "`0.0.0.0` needs tls"),
        ("port = ", "Invalid value"),
        ("[agents]\nport = 1\n[agents]\nport = 2", "line 3"),
    ],
)
def test_a_settings_file_that_is_wrong_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "watchword.toml").write_text(text)
    refused = start(data)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "settings are refused" in refused.words
    assert expected in refused.words
    assert [path.name for path in data.iterdir()] == ["watchword.toml"]


def test_the_program_itself_says_so_with_its_exit_code(tmp_path: Path) -> None:
    environment = {"WATCHWORD_AGENTS__HOST": "0.0.0.0"}
    completed = run([WATCHWORD, "serve", "--data", tmp_path / "data"], environment=environment, check=False)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "`0.0.0.0` needs tls" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_settings_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    refused = start(tmp_path / "data", "--config", str(tmp_path / "nowhere.toml"))
    assert refused.exit_code == 1
    assert f"no settings file `{tmp_path}/nowhere.toml`" in refused.words


@pytest.mark.parametrize("listener", ["OPERATORS", "DECISIONS", "AGENTS"])
def test_tls_files_that_are_missing_or_do_not_belong_together_are_named(tmp_path: Path, pki: Pki, listener: str) -> None:
    files = pki.server("127.0.0.1").write(tmp_path, "right")
    other = pki.server("127.0.0.1").write(tmp_path, "other")
    for certificate, key in ((tmp_path / "missing.pem", files.key), (files.certificate, other.key), (files.key, files.key)):
        environment = {
            f"WATCHWORD_{listener}__TLS__CERTIFICATE": str(certificate),
            f"WATCHWORD_{listener}__TLS__PRIVATE_KEY": str(key),
        }
        refused = start(tmp_path / "data", "--port", "0", environment=environment)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert str(certificate) in refused.words
        assert "Traceback" not in refused.words


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchwordServer]:
    environment = {"WATCHWORD_DECISIONS__GRPC_PORT": str(SET_PORT)}
    with WatchwordServer(tmp_path_factory.mktemp("first") / "data", environment=environment) as server:
        yield server


# ---- Addresses ---------------------------------------------------------------------------------------------------------


def test_ports_count_up_from_the_first_in_a_fixed_order_and_one_that_is_set_moves_no_other(running: WatchwordServer) -> None:
    endpoints = running.endpoints
    addresses = (endpoints.operators, endpoints.decisions_http, endpoints.agents, endpoints.agents_http, endpoints.decisions_spop)
    first, *others = map(port_of, addresses)
    assert others == [first + 1, first + 3, first + 4, first + 5]
    assert port_of(endpoints.decisions_grpc) == SET_PORT


def test_port_0_takes_free_ones(tmp_path: Path) -> None:
    arguments: list[str | Path] = [WATCHWORD, "serve", "--data", tmp_path / "data", "--port", "0"]
    with Program(arguments, name="watchword", directory=tmp_path) as program:
        endpoints = Endpoints.parse(program.wait_for_line())
        assert httpx.get(f"{endpoints.operators}/readyz").status_code == 200
    ports = {port_of(getattr(endpoints, name)) for name in Endpoints.__slots__ if name != "account_id"}
    assert len(ports) == 6
    assert 0 not in ports


@pytest.mark.parametrize(
    "taken", range(6), ids=["operators", "decisions_http", "decisions_grpc", "agents", "agents_http", "decisions_spop"]
)
def test_a_port_that_is_taken_is_named_and_the_data_directory_is_let_go(tmp_path: Path, taken: int) -> None:
    first = free_ports(6)[0]
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first + taken))
        squatter.listen()
        refused = start(tmp_path / "data", "--port", str(first))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "cannot listen" in refused.words
    assert str(first + taken) in refused.words
    assert "Traceback" not in refused.words
    DataDirectory(tmp_path / "data").release()


# ---- The data directory ------------------------------------------------------------------------------------------------


def test_a_second_server_on_the_same_data_is_refused_and_the_first_does_not_notice(running: WatchwordServer) -> None:
    refused = start(running.data, "--port", "0")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"`{running.data}` is held by process {running.program.pid}" in refused.words
    assert Operators(running.data).devices() == {}
    with Proxy(running.endpoints.decisions_http) as proxy:
        assert proxy.ask().reason == "caller_refused"


def test_a_migration_under_a_running_server_is_refused(running: WatchwordServer) -> None:
    refused = start(running.data, command=migrate)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"held by process {running.program.pid}" in refused.words
    assert Operators(running.data).devices() == {}


def test_what_cannot_be_a_data_directory_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused = start(file / "data")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"`{file}/data` cannot be used" in refused.words


def test_a_data_directory_whose_path_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120)
    refused = start(data, "--port", "0")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert str(data) in refused.words
    assert "too long" in refused.words


def test_a_store_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    nonsense = b"This is not a database.\n" * 1000
    (data / "watchword.db").write_bytes(nonsense)
    refused = start(data, "--port", "0")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Traceback" not in refused.words
    assert (data / "watchword.db").read_bytes() == nonsense
