"""Real servers for tests that ill-treat them."""

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from faults.proxy import SECRET
from server.operators import Operators
from support.server import WatchwordServer

# One machine plays many devices here: the limits of one address are not what these tests are about.
UNHURRIED: Final = {
    f"WATCHWORD_LIMITS__{name}": value
    for name, value in {
        "ENROLLMENTS_PER_SECOND": "10000",
        "ENROLLMENTS_BURST": "100000",
        "STREAMS_PER_SECOND": "10000",
        "STREAMS_BURST": "100000",
        "MESSAGES_PER_SECOND": "10000",
        "MESSAGES_BURST": "100000",
        "DRAIN_SECONDS": "0",
    }.items()
}


def apply_rules(server: WatchwordServer, rules: Mapping[str, Any], *, prune: bool = False) -> None:
    """As `watchword apply`, without a program for it; callers that have a secret have `SECRET`."""
    document = copy.deepcopy(dict(rules))
    for caller in document["callers"]:
        if caller["authenticate"].pop("secret_file", None):
            caller["authenticate"]["secret_sha256"] = hashlib.sha256(SECRET.encode()).hexdigest()
    Operators(server.data).call("POST", "/rules/apply", {"document": document, "prune": prune})


# What grpc says of its own accord: of a peer that left in the middle of an answer, and of TLS handshakes that fail.
_BY_GRPC: Final = re.compile(r'\{"event": "ExecuteBatchError raised in core |I\d{4} ')


def surprises(server: WatchwordServer) -> list[str]:
    """What it logged that no client may cause: errors, and lines that are no events."""
    lines = [line for line in server.program.stderr().splitlines() if not _BY_GRPC.match(line)]
    return [line for line in lines if not line.startswith("{") or '"level": "error"' in line]
