"""One request on stdin, one answer on stdout."""

import contextlib
import json
import os
import sys
from typing import Final

from watchword_server.revocation_reader.answering import answer
from watchword_server.revocation_reader.failure import ReadingFailedError

_NICENESS: Final = 10  # decisions go first


def main() -> int:
    """Answers the request on stdin; the exit status."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    request = json.loads(sys.stdin.buffer.readline())
    try:
        said = answer(request)
    except ReadingFailedError as error:
        said = {"error": error.reason, "detail": error.detail}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
