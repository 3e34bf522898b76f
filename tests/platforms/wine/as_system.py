"""Runs in the Windows Python: starts a helper as `native/__main__.py` does, which takes itself for a service of the system.

Wine knows no other user's token: its own stands for the one of who is signed in. `STAND_IN_SIGNED_OUT`: nobody is.
"""

import importlib
import os
import sys
from typing import Any

if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.path[:0] = sys.argv[1:separator]
    helper = sys.argv[separator + 1]
    sessions: Any = importlib.import_module("watchword_agent.native.windows_sessions")
    windows_user: Any = importlib.import_module("watchword_agent.native.windows_user")
    calls = sessions.session_calls()
    if not os.environ.get("STAND_IN_SIGNED_OUT"):
        calls.WTSQueryUserToken = lambda _, token: calls.OpenProcessToken(calls.GetCurrentProcess(), 0x2000000, token)
    else:
        calls.WTSQueryUserToken = lambda _, __: 0
        calls.last_error = lambda: 1008  # ERROR_NO_TOKEN
    windows_user.session_calls = lambda: calls
    windows_user.runs_as_system = lambda _: True
    importlib.import_module(f"watchword_agent.native.{helper}").main()
