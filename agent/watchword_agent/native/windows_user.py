"""The helper for the stores of the user who is signed in."""

from watchword_agent.native import windows


def main() -> None:
    """Answers until standard input ends."""
    windows.main()
