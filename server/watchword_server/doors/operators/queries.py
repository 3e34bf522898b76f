"""What routes of `/api/v1` take in their queries and bodies."""

import datetime as dt
from typing import Annotated, Final

from fastapi import Query
from pydantic import AfterValidator, Field

from watchword_server.configuration.document.values import email_address
from watchword_server.core.model.names import Instant

Number = Annotated[int | None, Query(ge=0, le=(1 << 62))]
Limit = Annotated[int, Query(ge=1, le=1000)]
Text = Annotated[str | None, Query(min_length=1, max_length=255)]
Time = Annotated[dt.datetime | None, Query()]
# Case-folded, as the users of requests are.
Email = Annotated[str, Field(max_length=320), AfterValidator(email_address), AfterValidator(str.casefold)]

_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def instant_of(time: dt.datetime | None) -> Instant | None:
    """Without a zone: UTC. What is before 1970 is its beginning."""
    if time is None:
        return None
    return Instant(max(_FIRST, time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp())
