"""What the rules see of one request: fields by name, worked out when they are first asked for, and the standing of its checks."""

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, cast

from watchword_server.core.facts import COUNTRY, GROUPS
from watchword_server.core.model.checks import Check
from watchword_server.core.model.decisions import AccessRequest, CheckStanding, ResolvedDevice, Standing, Value
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import CheckId, Instant
from watchword_server.core.posture import standing_of
from watchword_server.core.rules import EvidenceDemand

_new: Final = tuple.__new__  # makes a named tuple in half the time that its class takes to be called
_PASSED: Final = Standing.PASSED
_FAILED: Final = Standing.FAILED
_NO_RESULT: Final = Standing.NO_RESULT
_ACTIVE: Final = DeviceState.ACTIVE
_PORTS: Final = {"http": 80, "https": 443}


class PostureArray:
    """The key of `device_posture.checks.passed` or `.failed` as one rule sees it; the same object for the same demand.

    `unknown_fails`: what is not known to have passed counts as failed, as a blocking rule needs it; an allowing rule sees as
    failed only what is known to have failed. Absence helps neither.
    """

    __slots__ = ("demand", "passed", "unknown_fails")

    def __init__(self, demand: EvidenceDemand, *, passed: bool, unknown_fails: bool) -> None:
        self.demand = demand
        self.passed = passed
        self.unknown_fails = unknown_fails

    def read(self, scene: "Scene") -> tuple[bytes, ...]:
        """The ids of the checks."""
        checks, device, now, demand = scene.checks, scene.device, scene.now, self.demand
        if self.unknown_fails:
            return tuple(
                [check.id.encode() for check in checks.values() if standing_of(check, device, now, demand) is not _PASSED]
            )
        wanted = _PASSED if self.passed else _FAILED
        known = () if device.posture is None else [checks[check_id] for check_id in device.posture.results if check_id in checks]
        return tuple([check.id.encode() for check in known if standing_of(check, device, now, demand) is wanted])

    def holds(self, value: bytes) -> Callable[["Scene"], bool]:
        """Whether this check's id is among them: what nearly every rule asks, and it takes one check and no list."""
        check_id, demand = CheckId(value.decode(errors="backslashreplace")), self.demand
        wanted = _FAILED if not self.passed and not self.unknown_fails else _PASSED
        opposite = self.unknown_fails

        def held(scene: Scene) -> bool:
            check = scene.checks.get(check_id)
            return check is not None and (standing_of(check, scene.device, scene.now, demand) is wanted) is not opposite

        return held


@lru_cache(maxsize=1024)
def posture_keys(demand: EvidenceDemand, *, unknown_fails: bool) -> Mapping[str, Hashable]:
    """What a rule with this demand reads in place of the two posture fields."""
    return {
        "device_posture.checks.passed": PostureArray(demand, passed=True, unknown_fails=False),
        "device_posture.checks.failed": PostureArray(demand, passed=False, unknown_fails=unknown_fails),
    }


class Scene(dict[Hashable, Value | None]):
    """One request as the rules see it: `scene[field]` is the field's value, or None where it is missing. Made for one decision.

    `path` is the reading of the request's path that is decided. `asked` are the standings of the checks that Access asked about,
    in that order; Gateway's expressions do not fill it.
    """

    __slots__ = ("asked", "checks", "device", "now", "path", "request")

    def __init__(
        self, request: AccessRequest, device: ResolvedDevice, checks: Mapping[CheckId, Check], now: Instant, path: bytes
    ) -> None:
        self.request = request
        self.device = device
        self.checks = checks
        self.now = now
        self.path = path
        self.asked: dict[Hashable, CheckStanding] = {}
        self["http.request.host"] = request.host.encode()  # nearly every rule asks for it: not by way of `__missing__`
        self["http.request.uri.path"] = path

    def __missing__(self, key: Hashable) -> Value | None:
        value: Value | None
        if key in _FIELDS:
            value = _FIELDS[key](self)
        elif key.__class__ is PostureArray:
            value = key.read(self)
        else:
            value = self.request.facts.get(key)  # type: ignore[call-overload]  # any other key is a fact's name
        self[key] = value
        return value

    def ask(self, check_id: CheckId, key: Hashable, demand: EvidenceDemand) -> CheckStanding:
        """The check's standing, remembered in `asked` under the key."""
        check, posture = self.checks[check_id], self.device.posture
        standing = standing_of(check, self.device, self.now, demand)
        result = None
        if posture is not None and standing is not _NO_RESULT and posture.device.state is _ACTIVE:
            result = posture.results[check_id]
        asked = self.asked[key] = _new(CheckStanding, (check_id, check.name, standing, result))
        return asked


class EvaluationScene(Scene):
    """What the rules see of an AuthZEN evaluation: its entities, the user and the device; no request."""

    __slots__ = ()

    def __missing__(self, key: Hashable) -> Value | None:
        evaluation = self.request.evaluation
        if evaluation is not None and isinstance(key, str) and key in evaluation.fields:
            value = self[key] = evaluation.fields[key]
            return value
        return super().__missing__(key)


# ---- Fields ---------------------------------------------------------------------------------------------------------------


def domains(host: bytes) -> tuple[bytes, ...]:
    """The host and each of its parents."""
    labels = host.split(b".")
    return tuple(b".".join(labels[start:]) for start in range(len(labels)))


def _uri(scene: Scene) -> bytes:
    request = scene.request
    port = b"" if request.port is None or request.port == _PORTS.get(request.scheme) else b":%d" % request.port
    return b"%b://%b%b%b" % (request.scheme.encode(), request.host.encode(), port, _path_and_query(scene))


def _path_and_query(scene: Scene) -> bytes:
    query = scene.request.query
    return b"%b?%b" % (scene.path, query.encode()) if query else scene.path


def _source(scene: Scene) -> Value | None:
    """As expressions compare it: the family and the number."""
    address = scene.request.source_ip
    return None if address is None else (4 if address.__class__ is IPv4Address else 6, int(address))


def _email(scene: Scene) -> bytes | None:
    identity = scene.request.identity
    return None if identity is None else identity.email.encode()


def owner_of(scene: Scene) -> str | None:
    """The email address of the user whose device this is; None: not known, or of a device that does not count."""
    posture = scene.device.posture
    if posture is None or posture.device.state is not _ACTIVE or not scene.device.proven:
        return None
    return posture.device.owner


def owned_by_user(scene: Scene) -> bool | None:
    """Whether the user of the request is the owner of its device; None where either is not known."""
    owner, identity = owner_of(scene), scene.request.identity
    return None if owner is None or identity is None else identity.email == owner


def _owner_email(scene: Scene) -> bytes | None:
    owner = owner_of(scene)
    return None if owner is None else owner.encode()


def _port(scene: Scene) -> int | None:
    request = scene.request
    return _PORTS.get(request.scheme) if request.port is None else request.port


def _sni_host(scene: Scene) -> Value | None:
    """As reported; else what a browser asks for is what it named to the proxy."""
    request = scene.request
    return request.facts.get("net.sni.host", request.host.encode() if request.scheme == "https" else None)


def _sni_domains(scene: Scene) -> Value | None:
    host = scene["net.sni.host"]
    return domains(host) if isinstance(host, bytes) else None


def _of_groups(member: bytes) -> Callable[[Scene], Value | None]:
    def read(scene: Scene) -> Value | None:
        groups = cast("tuple[Mapping[bytes, object], ...] | None", scene.request.facts.get(GROUPS))
        return None if groups is None else tuple([group[member] for group in groups if member in group])

    return read


def _or_country(name: str, other: str) -> Callable[[Scene], Value | None]:
    return lambda scene: scene.request.facts.get(name, scene.request.facts.get(other))


_FIELDS: Final[Mapping[Hashable, Callable[[Scene], Value | None]]] = {
    "http.request.domains": lambda scene: domains(scene.request.host.encode()),
    "http.request.method": lambda scene: scene.request.method.encode(),
    "http.request.uri": _uri,
    "http.request.uri.query": lambda scene: scene.request.query.encode(),
    "http.request.uri.path_and_query": _path_and_query,
    "http.conn.src_ip": _source,
    "net.src.ip": _source,
    "net.dst.port": _port,
    "net.protocol": lambda _: b"tcp",
    "net.sni.host": _sni_host,
    "net.sni.domains": _sni_domains,
    "net.src.geo.country": _or_country("net.src.geo.country", COUNTRY),
    "net.src.geo.continent": _or_country("net.src.geo.continent", "http.src_ip.geo.continent"),
    "identity.email": _email,
    "device.owner.email": _owner_email,
    "device.owned_by_user": owned_by_user,
    "identity.groups.id": _of_groups(b"id"),
    "identity.groups.name": _of_groups(b"name"),
    "identity.groups.email": _of_groups(b"email"),
}
