"""The helper for the stores of the user who is signed in: as that user, also where the agent is a service of the system."""

import sys

from watchword_agent.native import windows
from watchword_agent.native.serving import Answer, HelperError, Request, serve
from watchword_agent.native.windows_sessions import run_for_user, runs_as_system, session_calls


def main() -> None:
    """Answers until standard input ends, or has the same program do so in the user's session."""
    try:
        calls = session_calls()
        if runs_as_system(calls):
            sys.exit(run_for_user(calls, command_of_user(sys.executable, sys.orig_argv)))
    except HelperError as error:
        _refuse(error)
        return
    windows.main()


def command_of_user(executable: str, arguments: list[str]) -> list[str]:
    """This process's own command line with the helper `windows` in the place of this one, which is the last word."""
    return [executable, *arguments[1:-1], "windows"]


def _refuse(error: HelperError) -> None:
    def refused(request: Request) -> Answer:  # noqa: ARG001
        raise error

    serve({"list": refused, "sign": refused, "watch": refused})
