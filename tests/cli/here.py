"""Run pgvault in this process, as its program does, and read what it said: a process of its own costs a second."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from pgvault.cli.main import main
from pgvault.process import Finished


def pgvault(*words: str | Path) -> Finished:
    """Run a command to its end."""
    output, errors = io.StringIO(), io.StringIO()
    status: object = 0
    with _argv(["pgvault", *map(str, words)]), redirect_stdout(output), redirect_stderr(errors):
        try:
            main()
        except SystemExit as stop:
            status = stop.code
    assert status is None or isinstance(status, int)
    return Finished(status or 0, output.getvalue(), errors.getvalue())


def pgvault_json(*words: str | Path, status: int = 0) -> dict[str, Any]:
    """Run a command with --json that ends with `status`; return its one document, and nothing else is on stdout."""
    finished = pgvault(*words, "--json")
    assert finished.status == status, finished
    document = json.loads(finished.output)
    assert isinstance(document, dict)
    return document


@contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    """Set sys.argv, and put back the log's handlers too, which hold on to a stderr that is gone afterwards."""
    logger = logging.getLogger("pgvault")
    before = sys.argv, logger.handlers[:], logger.level
    sys.argv = words
    try:
        yield
    finally:
        sys.argv, logger.handlers[:] = before[0], before[1]
        logger.setLevel(before[2])
