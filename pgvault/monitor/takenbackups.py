"""Tell of a cluster's backups what nobody has to look at while it is well: sizes, page errors, what was not finished.

What is judged of them (their age, whether they restore) is judged elsewhere; these are figures for curves.
"""

from __future__ import annotations

from pgvault.monitor.finding import Figures, Finding, Level
from pgvault.repository.catalog import Catalog

NAME = "backups"


def tell_backups(catalog: Catalog) -> Finding:
    """Return the figures; labels without a root are backups under way, or were killed."""
    newest = max(catalog.backups, key=lambda backup: backup.stopped_at, default=None)
    figures: Figures = {
        "physical": len(catalog.backups),
        "logical": len(catalog.logical),
        "aborted": len(catalog.aborted),
        "unfinished": len(catalog.unfinished),
        "unreadable": len(catalog.unreadable),
        "size_bytes": None if newest is None else newest.total_bytes,
        "stored_bytes": None if newest is None else newest.stored_bytes,
        "bad_pages": None if newest is None else newest.page_errors.count,
    }
    if not catalog.roots:
        return Finding(NAME, Level.WARN, "none was ever committed", None, figures)
    said = f"{len(catalog.roots)} committed, {len(catalog.aborted)} aborted, {len(catalog.unfinished)} without an end"
    return Finding(NAME, Level.OK, said, None, figures, is_told=False)
