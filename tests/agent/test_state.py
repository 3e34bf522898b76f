"""The state directory and its files."""

import stat
from pathlib import Path

import pytest

from watchword_agent.errors import NotEnrolledError, StateDirectoryError
from watchword_agent.state import Enrollment, StateDirectory, write_atomically

ENROLLMENT = Enrollment(
    server="https://watchword.test:8443",
    ca_file=Path("/etc/roots.pem"),
    device_id="dev_1",
    key_id="key_1",
    audience="audience_1",
    pending_approval=False,
    serial_number=None,
    hostname="laptop-1",
)


def test_a_new_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "var" / "state")
    state.prepare()
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StateDirectoryError, match="others may write"):
        StateDirectory(tmp_path).prepare()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirectoryError, match="cannot use"):
        StateDirectory(tmp_path / "file").prepare()


def test_what_enrolling_told_is_kept(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.keep_enrollment(ENROLLMENT)
    assert state.enrollment() == ENROLLMENT
    assert stat.S_IMODE(state.enrollment_path.stat().st_mode) == 0o600


def test_nothing_enrolled_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotEnrolledError, match="watchword-agent enroll"):
        StateDirectory(tmp_path).enrollment()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}'])
def test_a_damaged_enrollment_is_no_enrollment(tmp_path: Path, text: str) -> None:
    state = StateDirectory(tmp_path)
    state.enrollment_path.write_text(text)
    with pytest.raises(StateDirectoryError, match="damaged"):
        state.enrollment()


def test_an_exclusive_write_replaces_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        write_atomically(path, b"second", exclusive=True)
    assert path.read_bytes() == b"first"
    write_atomically(path, b"third")
    assert path.read_bytes() == b"third"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_running_is_seen_by_others_and_excludes_them(tmp_path: Path) -> None:
    state, other = StateDirectory(tmp_path), StateDirectory(tmp_path)
    assert not other.is_running()
    with state.running():
        assert other.is_running()
        with pytest.raises(StateDirectoryError, match="another agent"), other.running():
            pass
    assert not other.is_running()
