"""Starts a helper as `native/__main__.py` does, with a stand-in for the system's libraries: `STAND_IN_LIBRARY` is its path."""

import ctypes
import importlib
import os
import sys
from typing import Any

if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.path[:0] = sys.argv[1:separator]
    macos_calls: Any
    windows_calls: Any
    library = ctypes.CDLL(os.environ["STAND_IN_LIBRARY"])
    macos_calls = importlib.import_module("watchword_agent.native.macos_calls")
    macos_calls.macos_framework = lambda _: library
    windows_calls = importlib.import_module("watchword_agent.native.windows_calls")
    windows_calls.windows_library = lambda _: library
    windows_calls.windows_last_error = getattr(library, "stand_in_last_error", None)
    importlib.import_module(f"watchword_agent.native.{sys.argv[separator + 1]}").main()
