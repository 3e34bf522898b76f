"""The standing of a device's checks at one moment: passed, failed, or one of the ways of not knowing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from watchword_server.core.model import (
    Check,
    CheckId,
    CheckStanding,
    DeviceState,
    Instant,
    PostureResult,
    ResolvedDevice,
    Standing,
)


@dataclass(frozen=True, slots=True)
class PostureView:
    """Reads standings for one decision; expiry and check revision are looked at here again: a cache never decides."""

    device: ResolvedDevice
    checks: Mapping[CheckId, Check]
    now: Instant
    asked: dict[CheckId, CheckStanding] = field(default_factory=dict)

    def standing(self, check_id: CheckId) -> CheckStanding:
        """The check's standing; remembered in `asked`."""
        known = self.asked.get(check_id)
        if known is not None:
            return known
        check = self.checks[check_id]
        standing, result = self._look(check)
        answer = CheckStanding(check_id=check_id, name=check.name, standing=standing, result=result)
        self.asked[check_id] = answer
        return answer

    def _look(self, check: Check) -> tuple[Standing, PostureResult | None]:
        posture = self.device.posture
        if posture is None or posture.device.state is not DeviceState.ACTIVE:
            return Standing.NO_DEVICE, None
        result = posture.results.get(check.id)
        if result is None or result.check_revision != check.revision:  # judged under another revision: no result
            return Standing.NO_RESULT, None
        if result.expires_at is not None and self.now >= result.expires_at:
            return Standing.EXPIRED, result
        if not result.passed:
            return Standing.FAILED, result
        # A pass belongs to the device; a link that the device does not prove any more does not bring it to this request.
        return (Standing.PASSED if self.device.proven else Standing.NO_DEVICE), result
