"""Where structured logs of a command go: stderr, as JSON lines. stdout is for data."""

import contextlib
import io
import logging
import sys
from typing import TextIO, cast

import structlog


class _BestEffort(io.TextIOBase):
    """Standard error, as far as somebody takes it: a log line that cannot be written must not stop what it tells of."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more; closed
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _is_news(record: logging.LogRecord) -> bool:
    """Not grpc's traceback for each peer that left before its answer was on the wire: that is everyday, and nobody's fault."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


def configure_logging(level: str) -> None:
    """Lets events of `level` (debug, info, warning, error) and above through; of the libraries' own, warnings and above."""
    common: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    stderr = cast("TextIO", _BestEffort())
    structlog.configure(
        processors=[*common, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
            foreign_pre_chain=common,
        )
    )
    handler.addFilter(_is_news)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
