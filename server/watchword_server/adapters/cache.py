"""What decisions read without I/O: devices with their results, and which devices a key belongs to.

Bounded, filled on a miss by one question to the store for all who wait, with a deadline and bounded memory of what is not there.
How long an entry stays is not how long a result is valid: an expired result stays and is known as expired.

Two guards keep old answers out. A fill that was read before a commit this process knows of is thrown away and read again
(revisions). And what narrows access is laid over every entry from before its commit until the commit is settled (narrowings).
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from cachetools import LRUCache, TLRUCache

from watchword_server.core.model.devices import Device, DeviceState, Lock
from watchword_server.core.model.names import DeviceId, KeyFingerprint
from watchword_server.core.model.results import CertificateBinding, DevicePosture, PostureResult
from watchword_server.errors import StoreUnavailableError
from watchword_server.ports.devices import DeviceStore
from watchword_server.ports.memory import Narrowing

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept, and for how long. Entries in counts, times in seconds."""

    max_devices: int = 100_000
    max_certificates: int = 200_000  # keys of certificates
    max_absent: int = 10_000
    keep_seconds: float = 600.0
    keep_absent_seconds: float = 5.0
    load_deadline_seconds: float = 0.4


@dataclass(slots=True)
class _Load(Generic[V]):
    """One question to the store that several may wait for; answers older than `floor` do not count."""

    task: asyncio.Task[V | None]
    floor: int = 0


class RevisionedCache(Generic[K, V]):
    """A bounded cache over a store that answers with revisions."""

    def __init__(
        self,
        load: Callable[[K], Awaitable[tuple[V | None, int]]],
        *,
        max_entries: int,
        limits: CacheLimits,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._deadline_seconds = limits.load_deadline_seconds
        self._entries: TLRUCache[K, tuple[V, int]] = TLRUCache(
            max_entries, ttu=lambda _key, _value, now: now + limits.keep_seconds, timer=timer
        )
        self._absent: TLRUCache[K, int] = TLRUCache(
            limits.max_absent, ttu=lambda _key, _value, now: now + limits.keep_absent_seconds, timer=timer
        )
        self._loads: dict[K, _Load[V]] = {}

    def peek(self, key: K) -> tuple[V, int] | None:
        """The entry and the revision it was read at, if it is in memory."""
        return self._entries.get(key)

    async def get(self, key: K) -> V | None:
        """The entry, from memory or from the store; None: there is none. Raises `StoreUnavailableError`."""
        entry = self._entries.get(key)
        if entry is not None:
            return entry[0]
        if key in self._absent:
            return None
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = _Load(asyncio.ensure_future(self._fill(key)))
            load.task.add_done_callback(_retrieve)
        try:
            # Shielded: one waiter that gives up must not take the answer from the others.
            # Not `wait_for`: Python 3.11's loses a cancellation that comes with the answer.
            async with asyncio.timeout(self._deadline_seconds):
                return await asyncio.shield(load.task)
        except TimeoutError as error:
            raise StoreUnavailableError("the store did not answer in time") from error

    def put(self, key: K, value: V, revision: int) -> None:
        """Stores what a commit of this process made of the entry; older fills are void."""
        self._raise_floor(key, revision)
        known = self._entries.get(key)
        if known is None or known[1] <= revision:
            self._entries[key] = (value, revision)

    def forget(self, key: K, revision: int) -> None:
        """The store holds something newer, as of `revision`: what is in memory or being read no longer counts."""
        self._raise_floor(key, revision)
        known = self._entries.get(key)
        if known is not None and known[1] < revision:
            del self._entries[key]

    def drop(self, key: K, revision: int) -> None:
        """As `forget`, whatever the revision of what is in memory."""
        self._raise_floor(key, revision)
        self._entries.pop(key, None)

    def forget_all(self, revision: int) -> None:
        """As `forget`, for every key."""
        for key in [*self._loads, *self._entries]:
            self.forget(key, revision)
        self._absent.clear()

    def _raise_floor(self, key: K, revision: int) -> None:
        self._absent.pop(key, None)
        load = self._loads.get(key)
        if load is not None:
            load.floor = max(load.floor, revision)

    async def _fill(self, key: K) -> V | None:
        try:
            while True:
                floor = self._loads[key].floor
                value, revision = await self._load(key)
                if revision >= self._loads[key].floor or floor == self._loads[key].floor:
                    break  # else a commit overtook the question: ask again
            if value is None:
                self._absent[key] = revision
                return None
            known = self._entries.get(key)
            if known is not None and known[1] > revision:
                return known[0]
            self._entries[key] = (value, revision)
            return value
        finally:
            del self._loads[key]


def _retrieve(task: "asyncio.Task[V | None]") -> None:
    """Marks the outcome as seen: all who waited may have given up."""
    if not task.cancelled():
        task.exception()


@dataclass(slots=True)
class PostureCache:
    """Devices and bindings for the decision path and the verifier. All methods run in the event loop."""

    store: DeviceStore
    limits: CacheLimits = field(default_factory=CacheLimits)
    timer: Callable[[], float] = time.monotonic
    changed: Callable[[DeviceId], None] = lambda _: None  # told of each device of which something may have changed
    changed_all: Callable[[], None] = lambda: None
    _postures: RevisionedCache[DeviceId, DevicePosture] = field(init=False)
    _bindings: RevisionedCache[KeyFingerprint, Sequence[CertificateBinding]] = field(init=False)
    _narrowings: dict[DeviceId, dict[int, Narrowing]] = field(default_factory=dict)
    _held: dict[DeviceId, Narrowing] = field(default_factory=dict)
    _overlaid: LRUCache[DeviceId, tuple[DevicePosture, DevicePosture]] = field(default_factory=lambda: LRUCache(1024))
    _serials: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        limits = self.limits
        self._postures = RevisionedCache(self._load_posture, max_entries=limits.max_devices, limits=limits, timer=self.timer)
        self._bindings = RevisionedCache(
            self.store.bindings, max_entries=limits.max_certificates, limits=limits, timer=self.timer
        )

    async def posture(self, device_id: DeviceId) -> DevicePosture | None:
        """The device with its results as they hold now; None: unknown. Raises `StoreUnavailableError`."""
        posture = await self._postures.get(device_id)
        return posture if posture is None else self._narrowed(posture)

    async def bindings(self, key: KeyFingerprint) -> Sequence[CertificateBinding]:
        """The certificates of this key, with the devices that proved them. Raises `StoreUnavailableError`."""
        return await self._bindings.get(key) or ()

    def narrow(
        self,
        device_id: DeviceId,
        results: Iterable[PostureResult] = (),
        *,
        state: DeviceState | None = None,
        lock: Lock | None = None,
    ) -> Narrowing:
        """Lets what narrows (failed results, a state, a lock) hold before its commit. Ended by `settle`; never by time."""
        judged = {result.check_id: result for result in results}
        failed = {check_id: result for check_id, result in judged.items() if not result.passed}
        narrowing = Narrowing(next(self._serials), device_id, failed, frozenset(judged), state, lock)
        self._narrowings.setdefault(device_id, {})[narrowing.serial] = narrowing
        self._overlaid.pop(device_id, None)
        self.changed(device_id)
        return narrowing

    def settle(self, narrowing: Narrowing, *, revision: int | None = None) -> None:
        """The narrowing's commit is done, or came to nothing (`revision` None): the store's answer holds again.

        A done commit also ends what was held for the same checks.
        """
        self._drop(narrowing)
        held = self._held.get(narrowing.device_id)
        if revision is not None and held is not None:
            results = {check_id: result for check_id, result in held.results.items() if check_id not in narrowing.covers}
            state = None if narrowing.state is not None else held.state
            lock = None if narrowing.lock is not None else held.lock
            if results or state is not None or lock is not None:
                self._held[narrowing.device_id] = replace(held, results=results, state=state, lock=lock)
            else:
                del self._held[narrowing.device_id]
        self._overlaid.pop(narrowing.device_id, None)
        self.changed(narrowing.device_id)

    def hold(self, narrowing: Narrowing) -> None:
        """The narrowing's commit failed: it holds until a later commit about the same checks is done.

        One entry a device, however often a store that is away is tried. A check that passes in the narrowing's evidence, yet
        failed in what is held already, stays failed: only a commit widens access.
        """
        self._drop(narrowing)
        held = self._held.get(narrowing.device_id, narrowing)
        self._held[narrowing.device_id] = replace(
            narrowing,
            results={**held.results, **narrowing.results},
            state=narrowing.state or held.state,
            lock=narrowing.lock or held.lock,
        )
        self._overlaid.pop(narrowing.device_id, None)
        self.changed(narrowing.device_id)

    def release_lock(self, device_id: DeviceId) -> bool:
        """Ends a lock that is held because its commit failed; False: none was. What else is held stays."""
        held = self._held.get(device_id)
        if held is None or held.lock is None:
            return False
        self._held[device_id] = replace(held, lock=None)
        self._overlaid.pop(device_id, None)
        self.changed(device_id)
        return True

    def _drop(self, narrowing: Narrowing) -> None:
        pending = self._narrowings.get(narrowing.device_id, {})
        pending.pop(narrowing.serial, None)
        if not pending:
            self._narrowings.pop(narrowing.device_id, None)

    def committed(self, device: Device, results: Iterable[PostureResult], *, revision: int) -> None:
        """A commit changed the device and these of its results: the entry in memory, if there is one, follows at once."""
        known = self._postures.peek(device.id)
        if known is None or known[1] >= revision:
            self._postures.forget(device.id, revision)
        else:
            before = known[0]
            merged = {**before.results, **{result.check_id: result for result in results}}
            # What operators said of the device is not the commit's to tell: it may have been judged before they did.
            device = replace(device, lock=before.device.lock, owner=before.device.owner)
            self._postures.put(device.id, DevicePosture(device=device, results=merged, revision=revision), revision)
        self.changed(device.id)

    def forget_device(self, device_id: DeviceId, *, revision: int) -> None:
        """The store changed it in a way that is simpler to read again; even a later commit in memory is made of what was."""
        self._postures.drop(device_id, revision)
        self.changed(device_id)

    def forget_key(self, key: KeyFingerprint, *, revision: int) -> None:
        """The bindings of its certificates changed."""
        self._bindings.forget(key, revision)

    def forget_all(self, *, revision: int) -> None:
        """Everything is read again; narrowings stay."""
        self._postures.forget_all(revision)
        self._bindings.forget_all(revision)
        self._overlaid.clear()
        self.changed_all()

    async def _load_posture(self, device_id: DeviceId) -> tuple[DevicePosture | None, int]:
        posture = await self.store.posture(device_id)
        # An unknown device has no revision of its own: a commit that makes it raises the floor above 0 and asks again.
        return (None, 0) if posture is None else (posture, posture.revision)

    def _narrowed(self, posture: DevicePosture) -> DevicePosture:
        narrowings = list(self._narrowings.get(posture.device.id, {}).values())
        held = self._held.get(posture.device.id)
        if held is not None:
            narrowings.insert(0, held)
        if not narrowings:
            return posture
        remembered = self._overlaid.get(posture.device.id)
        if remembered is not None and remembered[0] is posture:
            return remembered[1]
        device, results = posture.device, dict(posture.results)
        for narrowing in narrowings:
            results.update(narrowing.results)
            if narrowing.state is not None:
                device = replace(device, state=narrowing.state)
            if narrowing.lock is not None:
                device = replace(device, lock=narrowing.lock)
        overlaid = replace(posture, device=device, results=results)
        self._overlaid[posture.device.id] = (posture, overlaid)
        return overlaid
