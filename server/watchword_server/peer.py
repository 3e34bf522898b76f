"""Who is on the other end of a connection, as the transport knows it. What a peer merely says is not in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PEER: Final = "watchword.peer"  # its key in an ASGI scope
TARGET: Final = "watchword.target"  # of the request, as it came: an ASGI scope has lost its fragment, and more
OPERATORS_SOCKET: Final = "operators"  # the socket in the data directory: whoever may open it is admin
OPERATORS_SOCKET_FILE: Final = "operators.sock"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end. `socket_name` is set on a unix socket: `operators`, or the name of the caller the socket belongs to."""

    address: str
    subject_alternative_names: tuple[str, ...] = ()  # of its verified TLS client certificate: URI and DNS names
    socket_name: str | None = None
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # gRPC metadata or HTTP headers, lower case
