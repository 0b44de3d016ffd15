"""Pages that were damaged at the source already, noticed while they were backed up."""

from __future__ import annotations

from collections.abc import Iterator

from pgvault.checks.result import CheckResult, finding
from pgvault.drill.restored import Restored
from pgvault.errors import ObjectCorrupt


def source_pages(restored: Restored) -> Iterator[CheckResult]:
    """Fail when the backup holds pages whose checksums were wrong when they were read."""
    if restored.manifest is None:
        return
    errors = restored.manifest.page_errors
    shown = ", ".join(errors.first[:3])
    error = ObjectCorrupt(f"{errors.count} pages were damaged when they were backed up: {shown}")
    yield finding("page_checksums", error if errors.count else None, seconds=0)
