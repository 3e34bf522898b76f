"""A device says goodbye: all its results end, and nothing but new evidence brings them back."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from watchword_server import events
from watchword_server.core.model.devices import Device
from watchword_server.core.model.evidence import Goodbye
from watchword_server.core.session import AttestSession, TakeGoodbye
from watchword_server.core.verify import as_left, verify_goodbye
from watchword_server.services.verifier import Verifier

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Takes goodbyes. A goodbye is committed as evidence is: what narrows holds in memory first, the epoch is the fence."""

    verifier: Verifier
    parse: Callable[[bytes], Goodbye]

    async def goodbye(self, session: AttestSession, action: TakeGoodbye) -> Device:
        """Verifies a goodbye and lets it take effect: durable when this returns. Raises as `Verifier.accept`.

        What the device claimed is not kept: re-judging finds nothing there that could pass. Its proofs end, so that another
        holder of a certificate's key is the only one.
        """
        verifier = self.verifier
        posture = None if session.device_id is None else await verifier.memory.posture(session.device_id)
        now = verifier.clock.now()
        verified = verify_goodbye(
            action.envelope,
            device=None if posture is None else posture.device,
            expected=action.expected,
            now=now,
            parse=self.parse,
        )
        assert posture is not None  # noqa: S101 - verified: the device is known
        verifier.check_epoch(session, posture.device)
        left = [as_left(result, verified) for result in posture.results.values()]
        device, _ = await verifier.commit(session, posture, posture.device, left, verifier.rules.current, now=now, leaves=True)
        session.accepted()
        _log.info(events.DEVICE_LEFT, device_id=device.id)
        return device
