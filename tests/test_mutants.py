"""Every numbered step of verification is needed: without it, tests fail.

Besides these, a quarter of the other guards is tried, and that the rest could be; with WATCHWORD_SOAK=1 (`make soak`) all are.
"""

import os
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[1] / "tools" / "mutate_verify.py"


def test_without_any_one_step_of_verification_the_tests_fail() -> None:
    every = "1" if os.environ.get("WATCHWORD_SOAK") else "4"
    completed = subprocess.run([sys.executable, TOOL, "--every", every], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, f"{completed.stdout}\n{completed.stderr}"
