"""What a log line looks like."""

import pytest

from watchword_agent import log


def test_an_event_is_one_line_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    log.info(log.Event.CONNECTED, server="https://a.b:1", epoch=4, nothing=None, seconds=0.51234, words='two "words"\n', empty="")
    log.debug(log.Event.STORE_CHANGED)
    (line,) = capsys.readouterr().err.splitlines()
    moment, rest = line.split(" ", 1)
    assert moment.endswith("Z")
    assert (
        rest
        == 'info connected server=https://a.b:1 epoch=4 seconds=0.512 words="two \\"words\\"\N{REPLACEMENT CHARACTER}" empty=""'
    )


def test_configuring_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    log.configure("warning")
    log.warning(log.Event.STOPPED)
    log.info(log.Event.STARTED)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_event_names_are_words() -> None:
    assert all(event.value == event.name.lower() for event in log.Event)
