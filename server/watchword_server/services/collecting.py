"""Keeping the garbage collector from the rules: objects by the hundred thousand, none garbage, that it would look through.

While it looks, every decision waits: a third of a second for ten thousand rules.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(*, many: bool) -> Iterator[None]:
    """What is made in here by the thousand is made without collections, and never looked through afterwards. Else nothing.

    What dies is freed all the same; only cycles that are garbage at the end of this stay for good, so it is not for every change.
    """
    if not many or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
