"""pgvault backs up PostgreSQL, archives its WAL and proves by drills that any moment can be restored."""

from __future__ import annotations

__version__ = "0.7.0"
