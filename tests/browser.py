"""A real browser without a screen, which opens pages from files and asks nobody for anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pgvault.process import attempt

QUIET = (
    "--headless",
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


def chromium(page: Path, *words: str) -> str:
    """Open a page and return what the browser writes; skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    home = page.parent / "browser"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    finished = attempt(
        [program, *QUIET, f"--user-data-dir={home}", *words, page.as_uri()], timeout=120, env=environment
    )
    assert finished.status == 0, finished.errors
    return finished.output
