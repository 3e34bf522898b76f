"""`render` changes addresses and paths of a shipped file, all of them, and nothing else."""

from pathlib import Path

import pytest

from support import deploy
from support.deploy import envoy_address, render

SHIPPED = """\
# listens on 127.0.0.1:443, reads /etc/x/ca.pem
listen 127.0.0.1:443;
ca /etc/x/ca.pem;
ca-of-others /etc/x/ca.pem.bak;
upstream { address: 10.0.0.1, port_value: 80 }
"""
ALL = {
    "127.0.0.1:443": "127.0.0.1:9443",
    "/etc/x/ca.pem": "/tmp/ca.pem",
    "/etc/x/ca.pem.bak": "/tmp/bak",
    envoy_address("10.0.0.1:80"): envoy_address("127.0.0.1:8080"),
}


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text(SHIPPED)
    monkeypatch.setattr(deploy, "DEPLOY", tmp_path)


def test_each_literal_is_replaced_where_it_ends_there() -> None:
    assert render("file", ALL).splitlines() == [
        "# listens on 127.0.0.1:9443, reads /tmp/ca.pem",
        "listen 127.0.0.1:9443;",
        "ca /tmp/ca.pem;",
        "ca-of-others /tmp/bak;",
        "upstream { address: 127.0.0.1, port_value: 8080 }",
    ]


def test_what_was_written_is_not_replaced_again() -> None:
    swapped = {**ALL, "/etc/x/ca.pem": "/etc/x/ca.pem.bak", "/etc/x/ca.pem.bak": "/etc/x/ca.pem"}
    assert render("file", swapped).splitlines()[2:4] == ["ca /etc/x/ca.pem.bak;", "ca-of-others /etc/x/ca.pem;"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("listen", "listens"),
        ("127.0.0.1:443", "/tmp/socket"),
        ("/etc/x/ca.pem", "/tmp/a; evil on"),
        ("ca /etc/x/ca.pem", "ca /tmp/ca.pem"),
        (envoy_address("10.0.0.1:80"), envoy_address("127.0.0.1:80") + ", protocol: UDP"),
    ],
)
def test_only_addresses_and_paths_are_replaced(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a path"):
        render("file", {**ALL, key: value})


def test_a_key_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"not in deploy/file: /etc/y"):
        render("file", {**ALL, "/etc/y": "/tmp/y"})


@pytest.mark.parametrize("forgotten", ALL)
def test_a_literal_that_was_forgotten_is_an_error(forgotten: str) -> None:
    with pytest.raises(ValueError, match="left as it is"):
        render("file", {key: value for key, value in ALL.items() if key != forgotten})
