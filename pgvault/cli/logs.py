"""Where the library's log and its errors go: stderr, so that stdout holds results alone. As text, or as JSON.

    {"time": "2026-11-22T05:10:00.123Z", "level": "error", "logger": "pgvault", "message": "…", "exception": "WalGap",
     "hint": "…", "exit_code": 26}                                               one object a line, and nothing else

--log-format is kept in the environment ($PGVAULT_LOG_FORMAT): what we start ourselves obeys it as well, and the quick
ends of `wal push` and `wal fetch` ask it without an import.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType

FORMAT_VARIABLE = "PGVAULT_LOG_FORMAT"
FORMAT_OPTION = "--log-format"
TEXT, JSON = FORMATS = ("text", "json")
NAME = "pgvault"
PROGRESS = "progress"  # of a record: how far a phase is, in figures
NO_MORE: Mapping[str, object] = MappingProxyType({})


class JsonFormatter(logging.Formatter):
    """One object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        more: dict[str, object] = {PROGRESS: record.__dict__.get(PROGRESS)}
        if record.exc_info is not None and record.exc_info[0] is not None:
            more |= {"exception": record.exc_info[0].__name__, "traceback": self.formatException(record.exc_info)}
        at = datetime.fromtimestamp(record.created, UTC)
        return json_line(record.levelname.lower(), record.getMessage(), more, logger=record.name, at=at)


def json_line(
    level: str, message: str, more: Mapping[str, object] = NO_MORE, *, logger: str = NAME, at: datetime | None = None
) -> str:
    """Return one line of a log for machines; what is None is left out.

    It is ASCII: what a terminal's encoding lacks is written as Python writes it, which is not JSON.
    """
    import json  # nobody else pays for it

    time = (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"time": time, "level": level, "logger": logger, "message": message, **more}
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def is_json() -> bool:
    """Tell whether stderr is for machines."""
    return os.environ.get(FORMAT_VARIABLE) == JSON


def choose_format(arguments: Sequence[str]) -> None:
    """Keep what the command line says of the format, before it is parsed: what is wrong with it is told so, too."""
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name == FORMAT_OPTION:
            said = value if equals else "".join(arguments[number + 1 : number + 2])
            if said in FORMATS:
                os.environ[FORMAT_VARIABLE] = said
            return


def setup_logging(*, is_verbose: bool) -> None:
    """Send the library's log to stderr: warnings always, facts for the curious."""
    handler: logging.Handler
    if is_json():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").handlers[:] = [handler]
    elif sys.stderr.isatty():
        from rich.logging import RichHandler

        from pgvault.cli.terminal import stderr_console

        handler = RichHandler(console=stderr_console(), show_path=False, markup=False, highlighter=None)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if is_verbose else logging.WARNING)


def complain(level: str, message: str, hint: str | None, **more: object) -> None:
    """Say what went wrong in one sentence on stderr, its hint below it, if anybody can hear it."""
    if is_json():
        text = json_line(level, message, {"hint": hint, **more}) + "\n"
    else:
        text = f"{level}: {message}\n" + ("" if hint is None else f"hint: {hint}\n")
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
