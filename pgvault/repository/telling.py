"""What a result says of how it was read: by which key, copies that were not, and objects that came from elsewhere."""

from __future__ import annotations

from typing import Any

from pgvault.repository.damage import sum_up
from pgvault.repository.repository import Repository


def reading_document(repository: Repository) -> dict[str, Any]:
    """Return it for machines."""
    by = repository.keys.opened_by
    return {
        "key": None if by is None else by.to_json(),
        "copies": [copy.name for copy in repository.copies],
        "unread_copies": [{"copy": name, "error": str(error)} for name, error in repository.unread.items()],
        "healed": [healed.to_json() for healed in sum_up(repository.reader.damages)],
    }


def reading_lines(repository: Repository) -> list[str]:
    """Return it for people; nothing where all is as it should be."""
    lines = [f"read without copy {name!r}: {error}" for name, error in repository.unread.items()]
    by = repository.keys.opened_by
    if by is not None and by.is_escrow:
        lines.insert(0, f"opened by the escrow sheet (slot {by.slot}), by no other key")
    return [*lines, *map(str, sum_up(repository.reader.damages))]
