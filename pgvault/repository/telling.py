"""What a result says of how it was read: copies that were not, and objects that came from elsewhere."""

from __future__ import annotations

from typing import Any

from pgvault.repository.damage import sum_up
from pgvault.repository.repository import Repository


def reading_document(repository: Repository) -> dict[str, Any]:
    """Return it for machines."""
    return {
        "copies": [copy.name for copy in repository.copies],
        "unread_copies": [{"copy": name, "error": str(error)} for name, error in repository.unread.items()],
        "healed": [healed.to_json() for healed in sum_up(repository.reader.damages)],
    }


def reading_lines(repository: Repository) -> list[str]:
    """Return it for people; nothing where all is as it should be."""
    lines = [f"read without copy {name!r}: {error}" for name, error in repository.unread.items()]
    return [*lines, *map(str, sum_up(repository.reader.damages))]
