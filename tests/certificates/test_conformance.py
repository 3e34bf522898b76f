"""Public suites of certificate paths and signatures, run through the product's own verdicts.

Where WATCHWORD_CONFORMANCE names a folder with `run_x509.py`, `run_possession.py` and their cases; the project contains none.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PROFILES = "core,crl,crl-dp,depth,dos"


@pytest.fixture(scope="module")
def suites() -> Path:
    folder = os.environ.get("WATCHWORD_CONFORMANCE", "")
    if not folder:
        pytest.skip("WATCHWORD_CONFORMANCE is not set: the conformance suites did not run")
    assert Path(folder, "run_x509.py").is_file(), f"WATCHWORD_CONFORMANCE names `{folder}`, where no `run_x509.py` is"
    return Path(folder)


def tally(runner: Path, cases: Path, target: str, *arguments: str) -> dict[tuple[str, str], int]:
    """How many cases of each profile came out how; with no case there is nothing to be glad of."""
    command = [sys.executable, "-W", "ignore", str(runner), str(cases), "--target", f"conformance:{target}", *arguments]
    told = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    counted = re.findall(r"^(\S+) +(\S+) +(\d+)$", told.stdout, re.MULTILINE)
    found = {(profile, outcome): int(count) for profile, outcome, count in counted}
    assert any(outcome == "pass" for _, outcome in found), told.stdout + told.stderr
    print(told.stdout)  # noqa: T201  # shown with a failure
    return found


def test_every_path_has_the_verdict_that_sound_validators_agree_on(suites: Path) -> None:
    """With lists of distribution points nothing bad passes; not all that is good has to."""
    for cases in sorted(suites.glob("*.json")):
        if "possession" not in cases.name:
            told = tally(suites / "run_x509.py", cases, "verdict", "--profile", PROFILES)
            wrong = {key for key in told if key[1] in {"ACCEPTED-BAD", "REJECTED-GOOD"}} - {("crl-dp", "REJECTED-GOOD")}
            assert wrong == set()


def test_every_signature_has_its_verdict(suites: Path) -> None:
    told = tally(suites / "run_possession.py", suites / "wycheproof-possession.json", "verify_possession")
    assert {outcome for _, outcome in told} == {"pass"}
