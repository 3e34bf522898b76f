"""What the lists of `/api/v1` take in their queries."""

import datetime as dt
from typing import Annotated, Final

from fastapi import Query

from watchword_server.core.model import Instant

Number = Annotated[int | None, Query(ge=0, le=(1 << 62))]
Limit = Annotated[int, Query(ge=1, le=1000)]
Text = Annotated[str | None, Query(min_length=1, max_length=255)]
Time = Annotated[dt.datetime | None, Query()]

_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def instant_of(time: dt.datetime | None) -> Instant | None:
    """Without a zone: UTC. What is before 1970 is its beginning."""
    if time is None:
        return None
    return Instant(max(_FIRST, time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp())
