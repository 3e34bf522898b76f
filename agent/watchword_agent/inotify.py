"""The kernel's inotify(7), by libc and nothing else: an event costs a read, waiting costs nothing. Linux only."""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

_HEADER: Final = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_BUFFER_BYTES: Final = 64 * 1024


class Mask(IntFlag):
    """What happened, or is to be told (linux/inotify.h)."""

    MODIFY = 0x2
    ATTRIB = 0x4
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to `name` in the directory of a watch, or to the directory itself if the name is empty."""

    watch: int
    mask: Mask
    name: str


class Inotify:
    """A queue of events of the directories added to it. Raises `OSError`, also where the system grants no more of them."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.inotify_init1.argtypes = (ctypes.c_int,)
        self._libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self.descriptor: int = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, directory: str, mask: Mask) -> int:
        """Its watch: the same for two paths that lead to one directory. Raises `OSError`."""
        return _checked(self._libc.inotify_add_watch(self.descriptor, os.fsencode(directory), mask))

    def read(self) -> Iterator[Event]:
        """The events in the queue now."""
        try:
            data = os.read(self.descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            yield Event(watch, Mask(mask), os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
            offset += length

    def close(self) -> None:
        """Ends all watches."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
