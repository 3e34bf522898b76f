"""Rules by the thousand are objects by the hundred thousand: what that asks of those who make them and let them go.

The garbage collector would look through all of them, and who drops the last reference to them frees them all, in one go: either
way every decision waits, a third of a second for the one, a thirtieth for the other.
"""

import gc
from collections.abc import Iterator, MutableSequence
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


def release(things: MutableSequence[object]) -> None:
    """Lets go of one after the other, so that others get a turn in between. Empties the list."""
    while things:
        things.pop()
