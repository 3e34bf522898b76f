"""The logs that are products: a line an event, made where nobody waits for it."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from watchword_server.adapters.json_lines import JsonLinesLog, LogLimits


@pytest.fixture
def log(tmp_path: Path) -> Iterator[JsonLinesLog]:
    log = JsonLinesLog(tmp_path / "log" / "decisions.jsonl")
    yield log
    if log._thread.is_alive():
        log.close()


def lines(log: JsonLinesLog) -> list[Mapping[str, object]]:
    """All of them, once the log is closed."""
    log.close()
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def test_an_event_is_a_line(log: JsonLinesLog) -> None:
    log.write({"event": "decision", "text": "a\nb"})
    log.write({})
    assert lines(log) == [{"event": "decision", "text": "a\nb"}, {}]


def test_what_makes_an_event_is_called_once_by_the_log_s_own_thread(log: JsonLinesLog) -> None:
    threads: list[int] = []

    def event() -> Mapping[str, object]:
        threads.append(threading.get_ident())
        return {"made": "later"}

    log.write(event)
    assert lines(log) == [{"made": "later"}]
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_an_event_that_cannot_be_told_is_counted_and_is_not_the_last(log: JsonLinesLog) -> None:
    def event() -> Mapping[str, object]:
        raise RuntimeError("a bug")

    log.write(event)
    log.write({("a", "tuple"): "as a key"})  # type: ignore[dict-item] # as a fault of ours would
    log.write({"event": "decision"})
    assert lines(log) == [{"event": "decision"}]
    assert log.dropped == 2


def test_what_does_not_fit_the_queue_is_counted_and_nobody_waits(tmp_path: Path) -> None:
    log = JsonLinesLog(tmp_path / "decisions.jsonl", LogLimits(queue_length=1))
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Mapping[str, object]:
        begun.set()
        assert go_on.wait(20)
        return {"number": 0}

    log.write(slow)
    assert begun.wait(20)
    for number in (1, 2, 3):
        log.write({"number": number})
    go_on.set()
    assert lines(log) == [{"number": 0}, {"number": 1}]
    assert log.dropped == 2
