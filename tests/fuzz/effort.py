"""How much is tried, and what a fuzzed server is allowed to answer."""

import os
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_SOAK: Final = 50 if "WATCHWORD_SOAK" in os.environ else 1


def tries(count: int) -> settings:
    """So many examples, many more in a soak; of a machine that is busy nothing is held against the code."""
    return settings(max_examples=count * _SOAK, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> str:
    """A text that was right once: some of it replaced, cut out, put in, or repeated many times."""
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        piece = draw(st.text(max_size=4) | st.sampled_from(["%", "%00", "%zz", "\r\n", ",", ".", "²", "\ud7ff", "=", "A" * 5000]))
        text = text[:place] + piece + text[place + draw(st.integers(0, 4)) :]
    return text


def latin(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts as they arrive in HTTP headers: bytes, read as latin-1."""
    return texts.map(lambda text: text.encode("utf-8", "replace").decode("latin-1"))
