"""Which boots of a machine spoke for a device: how two machines that share one device key give themselves away.

A boot that another one superseded never comes back on one machine. Where it does, two are alive with one key: a disk that was
copied after enrollment, for instance. A reboot (A, then B) is nothing. To state no boot is a boot of its own where the device
stated one before, lest a copy keep silent; of a device that never did nothing is known.
"""

from dataclasses import replace
from typing import Final

from watchword_server.core.model.devices import Device, SeenBoot
from watchword_server.core.model.names import Instant

MAX_BOOTS: Final = 8  # kept of a device; a boot that so many others followed is forgotten, and would be new if it came back


def with_boot(device: Device, boot_id: bytes, *, claims_epoch: bool, now: Instant) -> Device:
    """The device after verified evidence from this boot; `key_cloned_at` is set where a second machine has shown itself.

    `claims_epoch`: the evidence is the first of its session. What is set stays set: an operator clears it.
    """
    boots, cloned = seen_boot(device.boots, boot_id, claims_epoch=claims_epoch, now=now)
    cloned_at = now if cloned and device.key_cloned_at is None else device.key_cloned_at
    return replace(device, boots=boots, key_cloned_at=cloned_at)


def seen_boot(
    boots: tuple[SeenBoot, ...], boot_id: bytes, *, claims_epoch: bool, now: Instant
) -> tuple[tuple[SeenBoot, ...], bool]:
    """The boots with this one as the newest, at most `MAX_BOOTS`; and whether it cannot be one machine's."""
    if not boot_id and not boots:
        return boots, False
    known = next((boot for boot in boots if boot.boot_id == boot_id), None)
    this = SeenBoot(boot_id, first_seen_at=now, last_seen_at=now) if known is None else replace(known, last_seen_at=now)
    others = tuple(boot for boot in boots if boot.boot_id != boot_id)
    is_newest = not boots or boots[-1].boot_id == boot_id
    superseded = known is not None and not is_newest
    within_a_session = not claims_epoch and not is_newest  # no machine reboots in the middle of its own stream
    return (*others, this)[-MAX_BOOTS:], superseded or within_a_session
