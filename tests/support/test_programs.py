"""A missing program is a skip that is seen, and a failure in CI."""

from pathlib import Path

import pytest

from support import programs

CONFTEST = (Path(__file__).parents[1] / "conftest.py").read_text()
TEST = """
import pytest

@pytest.fixture
def never():
    raise AssertionError("a fixture ran although the program is missing")

@pytest.mark.needs_program("no-such-program")
def test_it(never): ...
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr(programs, "_INSTALL", {"no-such-program": "apt-get install no-such-package"})
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TEST)
    pytester.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = needs_program(name): runs a real program\n"
    )
    return pytester


def test_it_is_skipped_with_the_line_that_installs_it(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*NOT TESTED*", "1 test did not run: `no-such-program` is missing: apt-get install no-such-package"]
    )


def test_in_ci_it_fails(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*`no-such-program` is missing: apt-get install no-such-package*"])


def test_a_program_nobody_listed_is_a_mistake_in_the_test() -> None:
    with pytest.raises(ValueError, match="add the line that installs it"):
        programs.find_program("unlisted")
