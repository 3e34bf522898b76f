"""Which sealed challenges were answered already, as long as they could be answered again."""

from collections import OrderedDict
from dataclasses import dataclass, field

from watchword_server.core.model.evidence import Challenge
from watchword_server.core.model.names import Instant
from watchword_server.errors import StaleChallengeError


@dataclass(slots=True)
class AnsweredChallenges:
    """Remembers an answered challenge until it is too old anyway; at most `max_kept`, the newest.

    One that is forgotten for others could be answered again, if its first answer was a bad one: a good one has claimed the epoch
    that the challenge proposes, and no second answer can.
    """

    max_age_seconds: float
    max_kept: int
    _until: OrderedDict[bytes, Instant] = field(default_factory=OrderedDict)  # by nonce, in the order of their answers

    def __len__(self) -> int:
        return len(self._until)

    def spend(self, challenge: Challenge, *, now: Instant) -> None:
        """Takes note that it is answered now, well or badly. Raises `StaleChallengeError` if it was before, or is too old."""
        if now - challenge.issued_at > self.max_age_seconds:
            raise StaleChallengeError("the challenge is too old")
        if challenge.nonce in self._until:
            raise StaleChallengeError("the challenge was answered before")
        while self._until and (len(self._until) >= self.max_kept or next(iter(self._until.values())) < now):
            self._until.popitem(last=False)
        self._until[challenge.nonce] = Instant(challenge.issued_at + self.max_age_seconds)
