"""Never an allow on evidence older than the rule's bound, and absence denies: in thousands of histories, a million at will."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from histories.mutants import MUTANTS
from histories.running import Report, play_all, unnoticed

SOAK = "WATCHWORD_SOAK" in os.environ
HISTORIES = 1_000_000 if SOAK else 10_000
PROCESSES = 2
_A_CHUNK = HISTORIES // (PROCESSES * 4)
_FOR_A_MUTANT = 5_000  # each is noticed by fewer than a thousand


def test_nothing_is_allowed_that_nothing_speaks_for() -> None:
    """Of every request that is allowed, the oracle knows why it may be; and enough are allowed for that to mean something."""
    chunks = [range(start, start + _A_CHUNK) for start in range(0, HISTORIES, _A_CHUNK)]
    with _processes() as processes:
        reports = list(processes.map(play_all, chunks))
    failures = [str(report.failure) for report in reports if report.failure is not None]
    assert not failures, "\n\n".join(failures)
    assert sum(report.histories for report in reports) == HISTORIES
    _is_telling(reports)


def _is_telling(reports: list[Report]) -> None:
    asked, allowed, may, sent, accepted = (
        sum(getattr(report.tally, name) for report in reports) for name in ("asked", "allowed", "may", "sent", "accepted")
    )
    assert asked / 5 < allowed < asked * 4 / 5, f"{allowed} of {asked} requests were allowed"
    assert allowed > may * 0.9, f"{may} requests might have been allowed, and {allowed} were: the oracle is too generous"
    assert sent / 2 < accepted < sent, f"{accepted} of {sent} envelopes were accepted"


@pytest.mark.skipif("WATCHWORD_HISTORY_SEED" not in os.environ, reason="WATCHWORD_HISTORY_SEED names none")
def test_the_history_of_a_seed() -> None:
    seed = int(os.environ["WATCHWORD_HISTORY_SEED"])
    with _processes() as processes:
        report = processes.submit(play_all, range(seed, seed + 1)).result()
    assert report.failure is None, str(report.failure)


def test_what_keeps_access_narrow_is_missed_when_it_is_gone() -> None:
    """In processes of their own, where the code is changed and changed back."""
    names = list(MUTANTS)
    with _processes() as processes:
        missed = processes.map(unnoticed, [names[::2], names[1::2]], [range(_FOR_A_MUTANT)] * 2)
        assert [name for names in missed for name in names] == []


def _processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn"))
