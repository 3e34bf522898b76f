"""What keeps access narrow, taken away in this process: each has to be noticed by the histories."""

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """A piece of a function's text, and what stands there instead."""

    module: str
    function: str
    text: str
    instead: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Changes the function for whoever has it already. Raises `LookupError` if the text does not stand there once."""
        module = importlib.import_module(f"watchword_server.{self.module}")
        found: object = module
        for name in self.function.split("."):
            found = getattr(found, name)
        assert isinstance(found, FunctionType)
        source = textwrap.dedent(inspect.getsource(found))
        if source.count(self.text) != 1:
            raise LookupError(f"`{self.text}` stands {source.count(self.text)} times in `{self.function}`")
        changed: dict[str, FunctionType] = {}
        exec(source.replace(self.text, self.instead), found.__globals__, changed)
        before, found.__code__ = found.__code__, changed[found.__name__].__code__
        try:
            yield
        finally:
            found.__code__ = before


_STANDING: Final = ("core.posture", "standing_of")
_CACHE: Final = "adapters.cache"

MUTANTS: Final = {
    "a result expires": Mutant(*_STANDING, "now >= result.expires_at", "False"),
    "another revision is no result": Mutant(*_STANDING, "result.check_revision != check.revision", "False"),
    "evidence can be too old": Mutant(*_STANDING, "now - result.evidence_at > demand.max_age_seconds", "False"),
    "a pass needs a proven link": Mutant(*_STANDING, "if not device.proven:", "if False:"),
    "what is revoked fails": Mutant(
        "core.certificates.revocation_check", "check_revocation", "policy is RevocationPolicy.OFF", "True"
    ),
    "a claim has an age": Mutant("core.verify", "judge_claim", "claim.age_seconds > max(", "0 > max("),
    "a verdict ends": Mutant("core.verify", "judge_claim", "verdict.passed and verdict.not_after is not None", "False"),
    "what fails holds before its commit": Mutant(_CACHE, "PostureCache.narrow", "if not result.passed", "if False"),
    "what fails holds though its commit failed": Mutant(
        _CACHE, "PostureCache.hold", "results={**held.results, **narrowing.results}", "results={}"
    ),
    "a lock holds though its commit failed": Mutant(
        _CACHE, "PostureCache.hold", "state=narrowing.state or held.state", "state=None"
    ),
    "a key is alive on one device": Mutant("services.resolving", "Resolver._bound_device", "len(holders) > 1", "False"),
    "a challenge ages": Mutant("core.verify", "_is_stale", "challenge is None or now", "challenge is None or 0 * now"),
    "a goodbye ends every result": Mutant("services.leaving", "Leaving.goodbye", "in posture.results.values()", "in ()"),
    "time does not go back": Mutant(
        "adapters.clock", "SystemClock._advance", "max(wall, self._last + (tick - self._last_tick))", "wall"
    ),
}
