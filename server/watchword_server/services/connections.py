"""Which devices have a live stream here, and how to tell them something."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from watchword_server.core.model.devices import Device
from watchword_server.core.model.names import DeviceId, IPAddress


@dataclass(frozen=True, slots=True)
class CheckSetChanged:
    """The rules changed: compare the device's check set with the one it was sent."""

    due_within_seconds: float


@dataclass(frozen=True, slots=True)
class AttestNow:
    """Look again and attest."""

    due_within_seconds: float


@dataclass(frozen=True, slots=True)
class Drain:
    """The server is going away: reconnect elsewhere or later."""

    reconnect_within_seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """The stream ends, with this reason."""

    code: str
    retry_after_seconds: float


Notice = CheckSetChanged | AttestNow | Drain | Close


@dataclass(eq=False, slots=True)
class Connection:
    """A device's claimed stream. `notify` must not block."""

    device: Device
    notify: Callable[[Notice], None]
    address: IPAddress | None = None  # where it comes from; None: not over IP, or it is no stream


@dataclass(slots=True)
class Connections:
    """Claimed streams by device: one each. Used in the event loop only."""

    _by_device: dict[DeviceId, Connection] = field(default_factory=dict)
    _by_address: dict[IPAddress, set[DeviceId]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._by_device)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._by_device.values()))

    def claim(self, connection: Connection) -> None:
        """The stream verified evidence: an older stream of the device is superseded."""
        older = self._by_device.get(connection.device.id)
        self._by_device[connection.device.id] = connection
        if older is not None:
            self._leave(older)
        if connection.address is not None:
            self._by_address.setdefault(connection.address, set()).add(connection.device.id)
        if older is not None and older is not connection:
            older.notify(Close("session_superseded", retry_after_seconds=60.0))

    def release(self, connection: Connection) -> None:
        """The stream ended; says nothing about the device."""
        if self._by_device.get(connection.device.id) is connection:
            del self._by_device[connection.device.id]
            self._leave(connection)

    def at(self, address: IPAddress) -> Sequence[DeviceId]:
        """The devices whose streams come from this address now."""
        return sorted(self._by_address.get(address, ()))

    def close(self, device_id: DeviceId, code: str) -> None:
        """Ends a device's stream, if it has one."""
        connection = self._by_device.get(device_id)
        if connection is not None:
            connection.notify(Close(code, retry_after_seconds=300.0))

    def notify_all(self, notice: Callable[[float], Notice], *, devices_per_second: float) -> None:
        """Tells every device, spread so that no more than about `devices_per_second` answer at once."""
        _notify(tuple(self), notice, devices_per_second)

    def notify_some(
        self, device_ids: Iterable[DeviceId], notice: Callable[[float], Notice], *, devices_per_second: float
    ) -> None:
        """Tells those of the devices that have a stream, spread likewise."""
        found = [self._by_device.get(device_id) for device_id in dict.fromkeys(device_ids)]
        _notify([connection for connection in found if connection is not None], notice, devices_per_second)

    def _leave(self, connection: Connection) -> None:
        there = self._by_address.get(connection.address) if connection.address is not None else None
        if there is not None and connection.address is not None:
            there.discard(connection.device.id)
            if not there:
                del self._by_address[connection.address]


def _notify(connections: Sequence[Connection], notice: Callable[[float], Notice], devices_per_second: float) -> None:
    spread_seconds = len(connections) / devices_per_second
    for connection in connections:
        connection.notify(notice(spread_seconds if spread_seconds > 1 else 0.0))
