"""The key that signs now, and the one that is to follow it. At every moment a key that the server accepts is in a file.

    device.key        the enrolled key
    device.key.next   its successor, written before it is proposed: that it is there is the wish to rotate

The successor replaces the enrolled key with the first acknowledgement of evidence that it signed: agent.json names it, then the
file is renamed. Between the two, agent.json names a key that is in device.key.next, and whoever starts then finishes it.
"""

import time
from collections.abc import Callable

from watchword_agent.device_key import DeviceKey
from watchword_agent.errors import DeviceKeyError
from watchword_agent.key_files import KeyFiles
from watchword_agent.state import Enrollment, StateDirectory, replace_durably

_DAY_SECONDS = 86_400


class DeviceKeys:
    """The keys of an enrolled device. Raises `DeviceKeyError`, `StateDirectoryError` where the files cannot be used."""

    def __init__(self, state: StateDirectory, enrollment: Enrollment, files: KeyFiles) -> None:
        self._state = state
        self._files = files
        self._enrollment = enrollment
        self._enrolled = self._load_enrolled()
        self.signing = self._enrolled

    def successor(self) -> DeviceKey | None:
        """The key that is to follow; None: none is wished for."""
        try:
            return self._files.load(self._state.next_key_path)
        except FileNotFoundError:
            return None

    def wish(self) -> DeviceKey:
        """A successor, the one that is there already or a new one; durable when this returns."""
        return self._files.load_or_create(self._state.next_key_path)

    def wish_if_older(self, days: float, *, now: Callable[[], float] = time.time) -> None:
        """As `wish`, if the enrolled key's file is older; 0 days: never."""
        if days and now() - self._state.key_path.stat().st_mtime > days * _DAY_SECONDS:
            self.wish()

    def pending(self) -> None:
        """The server awaits evidence signed by the successor."""
        self.signing = self.successor() or self._enrolled

    def accepted(self) -> bool:
        """Evidence signed by `signing` is stored; whether that made the successor the device's key."""
        if self.signing is self._enrolled:
            return False
        self._enrollment = self._enrollment.model_copy(update={"key_id": self.signing.key_id})
        self._state.keep_enrollment(self._enrollment)
        replace_durably(self._state.next_key_path, self._state.key_path)
        self._enrolled.discard()
        self._enrolled = self.signing
        return True

    def refused(self) -> bool:
        """The server does not know `signing`; whether there is another key to try, which `signing` is then."""
        other = self.successor() if self.signing is self._enrolled else self._enrolled
        self.signing = other or self._enrolled
        return other is not None

    def withdraw(self) -> bool:
        """A key does not sign: the enrolled one again; whether that is another than `signing` was."""
        withdrawn = self.signing is not self._enrolled
        self.signing = self._enrolled
        return withdrawn

    def drop_successor(self) -> None:
        """The server refused the successor for good: the enrolled key stays."""
        self._files.remove(self._state.next_key_path)
        self.signing = self._enrolled

    def _load_enrolled(self) -> DeviceKey:
        path = self._state.key_path
        try:
            key = self._files.load(path)
        except FileNotFoundError as error:
            raise DeviceKeyError(f"`{path}` is gone: remove `{self._state.path}` and enroll anew") from error
        if key.key_id == self._enrollment.key_id:
            return key
        successor = self.successor()
        if successor is not None and successor.key_id == self._enrollment.key_id:  # stopped between naming it and the rename
            replace_durably(self._state.next_key_path, path)
            return successor
        raise DeviceKeyError(f"`{path}` is not the key that was enrolled: remove `{self._state.path}` and enroll anew")
