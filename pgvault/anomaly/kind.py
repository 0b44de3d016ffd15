"""What a backup can be compared with: backups of its kind."""

from __future__ import annotations

from collections.abc import Sequence

from pgvault.repository.catalog import Root
from pgvault.repository.manifest import Manifest


def kind_of(root: Root, databases: Sequence[str] | None = None) -> str:
    """Name a backup's kind; `databases`: a dump was limited to these, and is none of all."""
    if root.measures is not None:
        return root.measures.kind
    if isinstance(root, Manifest):
        return root.type
    which = "" if databases is None else f" of {', '.join(sorted(databases))}"
    return f"{root.type}{which}" + ("" if root.class_name is None else f", class {root.class_name}")
