"""Runs in the Windows Python as a service: says `running` in the file that it is given, and how it ended."""

import sys
import threading
from pathlib import Path

separator = sys.argv.index("--")
sys.path[:0] = sys.argv[1:separator]
said, code = Path(sys.argv[separator + 1]), int(sys.argv[separator + 2])


def work() -> int:
    stopping = threading.Event()
    with stop_requests(stopping.set):
        said.write_text("running")
        if not code:
            stopping.wait()
        said.write_text(f"ended {code}")
    return code


if __name__ == "__main__":
    from watchword_agent.windows_service import run_as_service, stop_requests

    sys.exit(run_as_service(work))
