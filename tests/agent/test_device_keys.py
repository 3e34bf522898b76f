"""Whatever interrupts a rotation, the device is left with a key that the server accepts, and finds it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from watchword_agent.device_key import DeviceKey
from watchword_agent.device_keys import DeviceKeys
from watchword_agent.errors import DeviceKeyError
from watchword_agent.key_files import KeyFiles
from watchword_agent.state import Enrollment, StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """Enrolled."""
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    key = KeyFiles().load_or_create(state.key_path)
    state.keep_enrollment(
        Enrollment(
            server="https://watchword.example:7403",
            ca_file=None,
            device_id="dev_1",
            key_id=key.key_id,
            audience="audience",
            pending_approval=False,
            serial_number=None,
            hostname=None,
        )
    )
    return state


def keys_of(state: StateDirectory) -> DeviceKeys:
    return DeviceKeys(state, state.enrollment(), KeyFiles())


def knows(keys: DeviceKeys) -> set[str]:
    """The ids of the keys that an agent starting now would try."""
    first = keys.signing.key_id
    return {first, keys.signing.key_id} if keys.refused() else {first}


def successor_of(keys: DeviceKeys) -> DeviceKey:
    successor = keys.successor()
    assert successor is not None
    return successor


def test_the_enrolled_key_signs_until_the_successor_is_pending(state: StateDirectory) -> None:
    keys = keys_of(state)
    assert keys.successor() is None
    wished = keys.wish()
    assert keys.wish().key_id == wished.key_id
    assert state.next_key_path.stat().st_mode & 0o777 == 0o600
    assert keys.signing.key_id == state.enrollment().key_id != wished.key_id
    keys.pending()
    assert keys.signing.key_id == wished.key_id
    assert keys.accepted()
    assert not keys.accepted()
    assert state.enrollment().key_id == KeyFiles().load(state.key_path).key_id == keys.signing.key_id == wished.key_id
    assert not state.next_key_path.exists()


class Crash(BaseException):
    """As if the process were killed."""


@pytest.mark.parametrize("point", range(5))
def test_killed_at_any_point_a_key_the_server_accepts_is_found(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    """Each rename is a point: killed before the first, between any two, after the last."""
    old, passed = state.enrollment().key_id, 0
    replace, link = Path.replace, os.link

    def counted(call: Callable[..., Any], *arguments: object) -> object:
        nonlocal passed
        if passed == point:
            raise Crash
        passed += 1
        return call(*arguments)

    monkeypatch.setattr(Path, "replace", lambda self, target: counted(replace, self, target))
    monkeypatch.setattr(os, "link", lambda source, target: counted(link, source, target))
    promoted: str | None = None
    try:
        keys = keys_of(state)
        new = keys.wish().key_id
        keys.pending()
        promoted = new  # the server stored the evidence that the new key signed
        keys.accepted()
    except Crash:
        pass
    monkeypatch.undo()
    again = keys_of(state)
    assert (promoted or old) in knows(again)


def test_a_key_the_server_does_not_know_gives_way_to_the_other(state: StateDirectory) -> None:
    keys = keys_of(state)
    assert not keys.refused()
    enrolled, wished = keys.signing, keys.wish()
    keys.pending()
    assert keys.refused()
    assert keys.signing is enrolled
    assert keys.refused()
    assert keys.signing.key_id == wished.key_id


def test_a_refused_successor_is_forgotten(state: StateDirectory) -> None:
    keys = keys_of(state)
    keys.wish()
    keys.drop_successor()
    assert keys.successor() is None
    assert keys.signing.key_id == state.enrollment().key_id


@pytest.mark.parametrize(("days", "age", "wished"), [(0, 1000, False), (30, 29, False), (30, 31, True)])
def test_a_key_is_replaced_at_an_age(state: StateDirectory, days: float, age: float, wished: bool) -> None:
    keys, made = keys_of(state), state.key_path.stat().st_mtime
    keys.wish_if_older(days, now=lambda: made + age * 86_400)
    assert (keys.successor() is not None) is wished


def test_a_key_that_is_neither_is_refused(state: StateDirectory) -> None:
    state.key_path.unlink()
    KeyFiles().load_or_create(state.key_path)
    with pytest.raises(DeviceKeyError):
        keys_of(state)
    KeyFiles().load_or_create(state.next_key_path)
    with pytest.raises(DeviceKeyError):
        keys_of(state)
