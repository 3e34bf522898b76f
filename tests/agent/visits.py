"""A look at stores as the agent takes it."""

from contextlib import ExitStack

from watchword_agent.helper_process import Helpers
from watchword_agent.stores.base import Access, Visit


def access() -> Access:
    """Nothing but the helpers."""
    return Access(Helpers())


def visit(*, hostname: str | None = None, serial_number: str | None = None, access: Access | None = None) -> Visit:
    """Ends what it holds open when it is collected."""
    variables = {"hostname": hostname, "serial_number": serial_number}
    return Visit(variables, access or Access(Helpers()), ExitStack())
