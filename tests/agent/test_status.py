"""What the agent tells the person at the device."""

import datetime as dt
from pathlib import Path

import pytest

from watchword.v1 import posture_pb2 as pb
from watchword_agent.errors import StateDirectoryError
from watchword_agent.status import Problem, Status, StatusFile, read_status, render

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
PASSED = pb.CheckResult(check_id="c1", name="Managed laptop", passed=True, reason="passed", expires_in_seconds=900)
FAILED = pb.CheckResult(
    check_id="c2", name="VPN", reason="certificate_expired", detail="expired 2026-01-01", expires_in_seconds=60
)


def status_file(path: Path) -> StatusFile:
    return StatusFile(path / "status.json", device_id="dev_1", server="https://watchword.test:1", now=lambda: NOW)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    file.accepted([PASSED, FAILED])
    status = read_status(tmp_path / "status.json")
    assert status == file.status
    assert status is not None
    assert status.last_ack_at == NOW
    assert [check.expires_at for check in status.checks] == [NOW + dt.timedelta(minutes=15), NOW + dt.timedelta(minutes=1)]


def test_a_pass_counts_until_it_expires(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    file.accepted([PASSED])
    assert file.status.all_pass(NOW)
    assert not file.status.all_pass(NOW + dt.timedelta(minutes=15))
    file.accepted([PASSED, FAILED])
    assert not file.status.all_pass(NOW)


def test_a_result_without_an_end_does_not_expire(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    file.accepted([pb.CheckResult(check_id="c1", passed=True)])
    assert file.status.all_pass(NOW + dt.timedelta(days=1000))


def test_a_problem_ends_with_the_next_acknowledgement(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    file.troubled("overloaded", "evidence was rejected", retry_seconds=2, connected=True)
    assert file.status.problem == Problem(
        code="overloaded", detail="evidence was rejected", retry_at=NOW + dt.timedelta(seconds=2)
    )
    file.accepted([])
    assert file.status.problem is None


def test_no_status_and_a_damaged_one_are_different(tmp_path: Path) -> None:
    assert read_status(tmp_path / "status.json") is None
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(StateDirectoryError, match="damaged"):
        read_status(tmp_path / "status.json")


def test_a_status_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    (tmp_path / "status.json").unlink()
    tmp_path.rmdir()
    file.accepted([PASSED])
    assert file.status.all_pass(NOW)


def test_it_reads_well(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    file.accepted([PASSED, FAILED])
    lines = render(file.status, running=True, now=NOW + dt.timedelta(seconds=30)).splitlines()
    assert lines[0] == "device    dev_1"
    assert lines[1] == "server    https://watchword.test:1"
    assert lines[2].startswith("agent     connected (process ")
    assert lines[3:] == [
        "last ack  30 s ago",
        "",
        "PASSED  Managed laptop, expires in 14 min",
        "FAILED  VPN: certificate_expired (expired 2026-01-01)",
    ]
    assert "EXPIRED Managed laptop" in render(file.status, running=True, now=NOW + dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("running", "connected", "word"),
    [(False, True, "not running"), (True, False, "not connected"), (True, True, "connected, nothing acknowledged yet")],
)
def test_the_connection_is_told_as_it_is(running: bool, connected: bool, word: str) -> None:
    status = Status(pid=1, device_id="dev_1", server="https://watchword.test:1", connected=connected)
    assert word in render(status, running=running, now=NOW)
    assert "no checks apply" in render(status, running=running, now=NOW)


def test_words_of_a_server_cannot_steer_a_terminal(tmp_path: Path) -> None:
    file = status_file(tmp_path)
    file.accepted([pb.CheckResult(check_id="c1", name="\x1b[2J\x9bname\u202e", reason="\r\n", detail="\x07")])
    text = render(file.status, running=True, now=NOW)
    assert not set(text) & set("\x1b\x9b\u202e\r\x07")
