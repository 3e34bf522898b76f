"""Every numbered step of verification is needed: without it, tests fail."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[1] / "tools" / "mutate_verify.py"


def test_without_any_one_step_of_verification_the_tests_fail() -> None:
    completed = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, f"{completed.stdout}\n{completed.stderr}"
