"""For every test: the marker `needs_program`."""

from collections import Counter

import pytest

from support.programs import MissingProgram, find_program, must_be_there

pytest_plugins = ("pytester",)


# What takes minutes by itself: begun first, so that nobody waits for it alone at the end where tests run side by side.
_LONGEST = ("tests/histories/", "tests/test_mutants.py", "tests/faults/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((rank for rank, path in enumerate(_LONGEST) if item.nodeid.startswith(path)), len(_LONGEST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips before any fixture runs; with `CI` set, fails."""
    names = [name for mark in item.iter_markers("needs_program") for name in mark.args]
    missing = [str(found) for found in map(find_program, names) if isinstance(found, MissingProgram)]
    if not missing:
        return
    if must_be_there():
        pytest.fail("; ".join(missing), pytrace=False)
    pytest.skip("; ".join(missing))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A skip that nobody sees is a test that nobody runs. The reports are all here, whichever process ran the tests."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        counts.update(part for part in why.removeprefix("Skipped: ").split("; ") if "` is missing: " in part)
    if counts:
        terminalreporter.section("NOT TESTED: programs are missing", red=True, bold=True)
        for message, count in sorted(counts.items()):
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''} did not run: {message}")
