"""For every test: the marker `needs_program`."""

import pytest

from support.programs import MissingProgram, find_program, must_be_there

pytest_plugins = ("pytester",)

_missing = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_missing] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips before any fixture runs; with `CI` set, fails."""
    names = [name for mark in item.iter_markers("needs_program") for name in mark.args]
    missing = [str(found) for found in map(find_program, names) if isinstance(found, MissingProgram)]
    if not missing:
        return
    for message in missing:
        counts = item.config.stash[_missing]
        counts[message] = counts.get(message, 0) + 1
    if must_be_there():
        pytest.fail("; ".join(missing), pytrace=False)
    pytest.skip("; ".join(missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A skip that nobody sees is a test that nobody runs."""
    counts = config.stash[_missing]
    if counts:
        terminalreporter.section("NOT TESTED: programs are missing", red=True, bold=True)
        for message, count in sorted(counts.items()):
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''} did not run: {message}")
