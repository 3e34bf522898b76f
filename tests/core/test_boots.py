"""Which boots give two machines with one device key away, and which are one machine's."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.values import NOW, a_device
from watchword_server.core.boots import MAX_BOOTS, seen_boot, with_boot
from watchword_server.core.model.devices import SeenBoot
from watchword_server.core.model.names import Instant


def sessions(*boot_ids: bytes) -> list[bool]:
    """Whether each of these sessions, by the boot that claimed it, showed a second machine."""
    boots: tuple[SeenBoot, ...] = ()
    shown = []
    for number, boot_id in enumerate(boot_ids):
        boots, cloned = seen_boot(boots, boot_id, claims_epoch=True, now=Instant(NOW + number))
        shown.append(cloned)
    return shown


@pytest.mark.parametrize(
    ("boot_ids", "shown"),
    [
        ([b"A", b"A", b"A"], [False, False, False]),  # an agent that restarts
        ([b"A", b"B", b"C"], [False, False, False]),  # reboots
        ([b"A", b"B", b"A"], [False, False, True]),
        ([b"A", b"B", b"C", b"A"], [False, False, False, True]),
        ([b"A", b"B", b"A", b"B"], [False, False, True, True]),
        ([b"A", b"B", b"C", b"B"], [False, False, False, True]),  # the copy comes back after the first one's reboot
        ([b"", b"", b""], [False] * 3),  # of a device that never states one nothing is known
        ([b"", b"A", b"", b"A", b""], [False, False, False, True, True]),  # a copy that keeps silent
        ([b"A", b"", b"B", b"", b"A"], [False, False, False, True, True]),
    ],
    ids=repr,
)
def test_only_a_superseded_boot_that_comes_back_is_another_machines(boot_ids: list[bytes], shown: list[bool]) -> None:
    assert sessions(*boot_ids) == shown


def test_one_session_is_one_boots() -> None:
    boots, _ = seen_boot((), b"A", claims_epoch=True, now=NOW)
    assert seen_boot(boots, b"A", claims_epoch=False, now=NOW)[1] is False
    assert seen_boot(boots, b"B", claims_epoch=False, now=NOW)[1] is True
    assert seen_boot((), b"A", claims_epoch=False, now=NOW)[1] is False, "the first that is known at all"


def test_when_a_boot_was_first_and_last_seen_is_kept() -> None:
    boots, _ = seen_boot((), b"A", claims_epoch=True, now=NOW)
    boots, _ = seen_boot(boots, b"A", claims_epoch=False, now=Instant(NOW + 60))
    assert boots == (SeenBoot(b"A", NOW, Instant(NOW + 60)),)


@given(st.lists(st.sampled_from([bytes([number]) for number in range(12)]) | st.just(b"")))
def test_the_newest_are_kept_each_once(boot_ids: list[bytes]) -> None:
    boots: tuple[SeenBoot, ...] = ()
    for boot_id in boot_ids:
        boots, _ = seen_boot(boots, boot_id, claims_epoch=True, now=NOW)
    known = list(itertools.dropwhile(lambda boot_id: not boot_id, boot_ids))
    newest = list(dict.fromkeys(reversed(known)))[:MAX_BOOTS]
    assert [boot.boot_id for boot in boots] == newest[::-1]


def test_what_was_seen_stays_seen() -> None:
    flagged = replace(a_device(), key_cloned_at=NOW)
    assert with_boot(flagged, b"A", claims_epoch=True, now=Instant(NOW + 1)).key_cloned_at == NOW
    seen = replace(a_device(), boots=(SeenBoot(b"A", NOW, NOW), SeenBoot(b"B", NOW, NOW)))
    assert with_boot(seen, b"A", claims_epoch=True, now=Instant(NOW + 1)).key_cloned_at == NOW + 1
    again = replace(seen, key_cloned_at=NOW)
    assert with_boot(again, b"A", claims_epoch=True, now=Instant(NOW + 1)).key_cloned_at == NOW, "since when, not when last"
