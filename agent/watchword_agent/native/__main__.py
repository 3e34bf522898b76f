"""Starts a helper: `python -I -S __main__.py ROOT… -- NAME`, where the roots hold the packages that it may import."""

import importlib
import sys

if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.path[:0] = sys.argv[1:separator]
    importlib.import_module(f"watchword_agent.native.{sys.argv[separator + 1]}").main()
