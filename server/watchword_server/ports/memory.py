"""What is known without asking the store."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from watchword_server.core.model.devices import Device, DeviceState, Lock
from watchword_server.core.model.names import CheckId, DeviceId, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, DevicePosture, PostureResult


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Failed results or a lock of one device that already hold, while their commit is on its way."""

    serial: int
    device_id: DeviceId
    results: Mapping[CheckId, PostureResult]
    covers: frozenset[CheckId]  # the checks its commit is about, failed or not
    state: DeviceState | None = None
    lock: Lock | None = None


class PostureMemory(Protocol):
    """What is known without asking the store; `posture` and `bindings` ask it once where memory has nothing."""

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        """The device with its results as they hold now; None: unknown."""
        ...

    async def bindings(self, key: KeyFingerprint) -> Sequence[CertificateBinding]:
        """The certificates of this key, with the devices that proved them. Their state is `posture`'s to tell."""
        ...

    def narrow(
        self,
        device_id: DeviceId,
        results: Iterable[PostureResult] = (),
        *,
        state: DeviceState | None = None,
        lock: Lock | None = None,
    ) -> Narrowing:
        """Lets what narrows (failed results, a state, a lock) hold before its commit. Ended by `settle`; never by time."""
        ...

    def settle(self, narrowing: Narrowing, *, revision: int | None = None) -> None:
        """The narrowing's commit is done, or came to nothing (`revision` None): the store's answer holds again."""
        ...

    def hold(self, narrowing: Narrowing) -> None:
        """The narrowing's commit failed: it holds until a later commit about the same checks is done."""
        ...

    def release_lock(self, device_id: DeviceId) -> bool:
        """Ends a lock that is held; False: none was."""
        ...

    def committed(self, device: Device, results: Iterable[PostureResult], *, revision: int) -> None:
        """A commit changed the device and these of its results."""
        ...

    def forget_device(self, device_id: DeviceId, *, revision: int) -> None:
        """The store holds something newer, as of `revision`."""
        ...

    def forget_key(self, key: KeyFingerprint, *, revision: int) -> None:
        """The bindings of its certificates changed, as of `revision`."""
        ...

    def forget_all(self, *, revision: int) -> None:
        """The store holds something newer, as of `revision`, and it is simpler to read everything again."""
        ...
