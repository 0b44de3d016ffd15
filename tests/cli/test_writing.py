"""Documents in files: the old one, or the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.cli.writing import write_document
from pgvault.errors import UsageError


def test_document_replaces_the_older_one(tmp_path: Path) -> None:
    """… and leaves nothing else behind."""
    path = tmp_path / "page.html"
    write_document(path, "old")

    write_document(path, "nëw")

    assert path.read_bytes() == "nëw".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A directory in its place, or none around it: one sentence that names the path."""
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "taken", tmp_path / "nowhere" / "page.html", Path()):
        with pytest.raises(UsageError, match="can not be written"):
            write_document(path, "text")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]
