"""Who wants to know at once that a device's standing may have changed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from watchword_server.core.model.names import DeviceId
from watchword_server.errors import OverloadedError


@dataclass(slots=True)
class Changes:
    """An event for each who waits, set when something of their device may have changed. Used in the event loop only."""

    max_waiting: int = 10_000
    _waiting: dict[DeviceId, set[asyncio.Event]] = field(default_factory=dict)
    _count: int = 0

    @contextmanager
    def of(self, device_id: DeviceId) -> Iterator[asyncio.Event]:
        """The event of one who waits; they clear it before they look. Raises `OverloadedError`."""
        if self._count >= self.max_waiting:
            raise OverloadedError(f"more than {self.max_waiting} watches of devices")
        event = asyncio.Event()
        self._waiting.setdefault(device_id, set()).add(event)
        self._count += 1
        try:
            yield event
        finally:
            self._count -= 1
            events = self._waiting[device_id]
            events.discard(event)
            if not events:
                del self._waiting[device_id]

    def note(self, device_id: DeviceId) -> None:
        """Something of this device may have changed."""
        for event in self._waiting.get(device_id, ()):
            event.set()

    def note_all(self) -> None:
        """Something of every device may have changed: the rules."""
        for events in self._waiting.values():
            for event in events:
                event.set()
