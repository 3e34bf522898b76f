"""What an application may verify by itself: a signed statement that this request was allowed, for whom and from which device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cachetools import LRUCache

from watchword_server.core.model.decisions import AccessRequest, Decision, Resolution, Standing
from watchword_server.core.model.names import Instant

TYPE: Final = "watchword-assertion+jwt"
LIFETIME_SECONDS: Final = 60
_USED_AGAIN_SECONDS: Final = 30  # from memory: whoever gets one has at least half its life left
_PORTS: Final = {"http": 80, "https": 443}


class _Remembered(NamedTuple):
    token: str
    issued_at: Instant


@dataclass(slots=True)
class Assertions:
    """Makes them, and remembers each by user, device, audience and the results it rests on: signing costs more than deciding.

    `sign` takes claims and the moment.
    """

    issuer: str
    sign: Callable[[Mapping[str, object], Instant], str]
    remembered: int = 50_000
    _known: LRUCache[object, _Remembered] = field(init=False)

    def __post_init__(self) -> None:
        self._known = LRUCache(self.remembered)

    def of(self, request: AccessRequest, decision: Decision) -> str:
        """The assertion of an allowed request (docs/assertions.md)."""
        now = decision.decided_at
        said = _said(request, decision)
        key = (said.audience, said.user, said.service_token, said.device, said.passed, said.policies)
        known = self._known.get(key)
        if known is not None and 0 <= now - known.issued_at < _USED_AGAIN_SECONDS:
            return known.token
        issued_at = int(now)
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": list(said.audience),
            "iat": issued_at,
            "exp": issued_at + LIFETIME_SECONDS,
            "policies": list(said.policies),
        }
        subject = said.user or (said.service_token and f"service_token:{said.service_token}")
        if said.device is not None:
            device_id, method, binding, _ = said.device
            claims["device"] = {"id": device_id, "identified_by": method, "binding": binding}
            subject = subject or f"device:{device_id}"
        if subject:
            claims["sub"] = subject
        if said.user:
            claims["email"] = said.user
        claims["checks"] = [
            {"name": name, "evidence_level": level, "evidence_at": int(evidence_at)} for name, level, evidence_at in said.passed
        ]
        token = self.sign(claims, now)
        self._known[key] = _Remembered(token, now)
        return token


class _Said(NamedTuple):
    """What an assertion states; hashable, so that it is what it is remembered by."""

    audience: tuple[str, ...]
    user: str | None
    service_token: str | None
    device: tuple[str, str, str, int] | None  # id, method, binding, revision of its results
    passed: tuple[tuple[str, str, Instant], ...]
    policies: tuple[str, ...]


def _said(request: AccessRequest, decision: Decision) -> _Said:
    resolved = decision.device
    posture = resolved.posture if resolved.outcome is Resolution.FOUND else None
    device = None
    if posture is not None:
        device = (posture.device.id, resolved.method or "", resolved.strength.name.lower(), posture.revision)
    return _Said(
        audience=(*[rule.id for rule in decision.rules if rule.kind == "application"], _origin(request)),
        user=None if request.identity is None else request.identity.email,
        service_token=request.service_token_id,
        device=device,
        passed=tuple(
            [
                (check.name, check.result.level.value, check.result.evidence_at)
                for check in decision.checks
                if check.standing is Standing.PASSED and check.result is not None
            ]
        ),
        policies=tuple([rule.name for rule in decision.rules if rule.kind == "policy"]),
    )


def _origin(request: AccessRequest) -> str:
    """RFC 6454: what the client believes to talk to."""
    port = "" if request.port in (None, _PORTS.get(request.scheme)) else f":{request.port}"
    return f"{request.scheme}://{request.host}{port}"
