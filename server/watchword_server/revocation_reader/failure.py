"""Why there is no list."""


class ReadingFailedError(Exception):
    """The list could not be fetched or written; `reason` is stable, `detail` for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
