"""How PostgreSQL calls us: by this very interpreter, whatever a server's PATH is."""

from __future__ import annotations

import sys
from pathlib import Path

import pgvault


def quick_program(name: str) -> tuple[str, ...]:
    """Return the words that run fetchprogram.py or pushprogram.py.

    -P, since a server's working directory is its data directory; PYTHONPATH, where we run from a source tree;
    -S, since what is ready is dealt with before Python has looked through its packages.
    """
    source_tree = Path(pgvault.__file__).resolve().parent.parent
    is_installed = not (source_tree / "pyproject.toml").exists()
    return (
        *(() if is_installed else ("/usr/bin/env", f"PYTHONPATH={source_tree}")),
        sys.executable,
        "-S",
        "-P",
        str(source_tree / "pgvault/cli" / name),
    )
