"""The standing of a device's checks at one moment: passed, failed, or one of the ways of not knowing.

Expiry and check revision are looked at here again: a cache never decides.
"""

from typing import Final

from watchword_server.core.model.checks import Check, OnClone
from watchword_server.core.model.decisions import ResolvedDevice, Standing
from watchword_server.core.model.devices import DeviceState
from watchword_server.core.model.names import Instant
from watchword_server.core.model.results import EvidenceLevel
from watchword_server.core.rules import NO_DEMAND, EvidenceDemand

# Looking an enum's member up costs as much as a comparison, and this is done several times for each request.
_ACTIVE: Final = DeviceState.ACTIVE
_FAIL: Final = OnClone.FAIL
_PASSED: Final = Standing.PASSED
_FAILED: Final = Standing.FAILED
_PROVEN: Final = EvidenceLevel.PROVEN
_NO_DEVICE: Final = Standing.NO_DEVICE
_NO_RESULT: Final = Standing.NO_RESULT
_EXPIRED: Final = Standing.EXPIRED
_WORTH: Final = {EvidenceLevel.REPORTED: 0, EvidenceLevel.SIGNED: 1, EvidenceLevel.PROVEN: 2}


def standing_of(check: Check, device: ResolvedDevice, now: Instant, demand: EvidenceDemand = NO_DEMAND) -> Standing:
    """How the device stands with the check; a pass that does not meet the demand is not passed, and not failed either."""
    posture = device.posture
    if posture is None or posture.device.state is not _ACTIVE:
        return _NO_DEVICE
    result = posture.results.get(check.id)
    if result is None or result.check_revision != check.revision:  # judged under another revision: no result
        return _NO_RESULT
    if result.expires_at is not None and now >= result.expires_at:
        return _EXPIRED
    if not result.passed:
        return _FAILED
    if posture.device.key_cloned_at is not None and check.config.on_clone is _FAIL:  # and this result not yet judged again
        return _FAILED
    if not device.proven:  # a pass is the device's; a link that it does not prove any more brings none to this request
        return _NO_DEVICE
    if demand is NO_DEMAND:
        return _PASSED
    if demand.level is not None and _WORTH[result.level] < _WORTH[demand.level]:
        return Standing.TOO_WEAK
    if device.strength < demand.binding:
        return Standing.BOUND_TOO_WEAKLY
    if demand.hardware_key:
        protection = posture.device.key.protection
        if result.level is not _PROVEN:  # a key in hardware makes no proof of a mere word
            return Standing.TOO_WEAK
        if protection is None or not protection.in_hardware:
            return Standing.NOT_IN_HARDWARE
    if demand.max_age_seconds is not None and now - result.evidence_at > demand.max_age_seconds:
        return Standing.TOO_OLD
    return _PASSED


def stricter(one: EvidenceDemand, other: EvidenceDemand) -> EvidenceDemand:
    """The demand that asks for all that both ask for."""
    if one is NO_DEMAND or other is NO_DEMAND:
        return other if one is NO_DEMAND else one
    levels = [level for level in (one.level, other.level) if level is not None]
    ages = [age for age in (one.max_age_seconds, other.max_age_seconds) if age is not None]
    return EvidenceDemand(
        level=max(levels, key=_WORTH.__getitem__) if levels else None,
        max_age_seconds=min(ages) if ages else None,
        hardware_key=one.hardware_key or other.hardware_key,
        binding=max(one.binding, other.binding),
    )
