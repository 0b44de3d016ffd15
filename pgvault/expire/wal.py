"""Remove WAL that nothing needs any more, and watermarks that prove nothing any more.

    note that it is expired ─► look at holds and readers ─► remove it, in the deciding copy last

The note comes first: a reader that pins afterwards and plans without that WAL, and one that pinned before and is seen,
are both safe; and whoever looks at the window never meets a hole that nobody explains.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

from pgvault.errors import UsageError
from pgvault.expire.actions import WalRemoval
from pgvault.expire.carrying import Run
from pgvault.expire.removing import Found
from pgvault.postgres.walname import SegmentFile, WalSegment, parse_wal_name
from pgvault.repository import layout
from pgvault.repository.gaps import note_expired
from pgvault.stores.commit import put_object

logger = logging.getLogger(__name__)

CLOCKS_APART = timedelta(days=1)  # how wrong a clock may be


def remove_wal(run: Run, removal: WalRemoval) -> None:
    """Remove WAL files of one system from every copy that answered."""
    system = removal.system_identifier
    run.require_held()
    if removal.ranges:
        note_expired(run.repository, run.cluster, system, removal.ranges, at=run.terms.clock.now())
        _spread_notes(run)
    reason = run.new_hold() or _reader(run, removal)
    if reason is not None:
        run.report.left[f"WAL of system {system}"] = reason
        return
    for name in run.copies_in_order:
        if run.gathered.roots[name].unreadable:
            continue
        remover = run.removers[name]
        before = remover.tally.object_count
        remover.remove(_chosen(remover.find(layout.wal(run.cluster, system)), removal))
        logger.info("removed %d WAL files from copy %s", remover.tally.object_count - before, name)


def remove_watermarks(run: Run) -> None:
    """Remove the watermarks from before the oldest backup that is left anywhere: they prove no moment of any window."""
    left = [backup.stopped_at for roots in run.gathered.roots.values() for backup in roots.backups.values()]
    if not left:
        return
    prefix = layout.watermarks(run.cluster)
    oldest = layout.stamp(min(left) - CLOCKS_APART)
    for name in run.copies_in_order:
        remover = run.removers[name]
        found = remover.find(prefix)
        remover.remove(each for each in found if each.key.removeprefix(f"{prefix}/") < oldest)


def _spread_notes(run: Run) -> None:
    """Bring the notes into every copy, also into those that wait for `pgvault copy`: each loses its WAL now."""
    prefix, deciding = layout.gaps(run.cluster), run.deciding.deciding.store
    noted = set(deciding.children(prefix))
    for name in run.copies_in_order[:-1]:
        store = run.removers[name].store
        for missing in noted.difference(store.children(prefix)):
            put_object(store, f"{prefix}/{missing}", deciding.get(f"{prefix}/{missing}"))


def _reader(run: Run, removal: WalRemoval) -> str | None:
    """Return who needs the last of what is to go, or anything before it."""
    lasts = [each.last for each in removal.ranges] + list(removal.tails)
    if not lasts:
        return None
    last = max(lasts, key=lambda segment: segment.number)
    return run.reader_of_wal(last, removal.system_identifier)


def _chosen(found: list[Found], removal: WalRemoval) -> Iterator[Found]:
    size = next((each.first.size for each in removal.ranges), None) or next((each.size for each in removal.tails), 0)
    tails = {segment.name for segment in removal.tails}
    others = set(removal.others)
    for each in found:
        directory, _, name = each.key.rpartition("/")
        if directory.endswith(layout.TAIL):
            if directory.rpartition("/")[2].removesuffix(layout.TAIL) in tails:
                yield each
        elif name in others or (size and _is_in_range(name, size, removal)):
            yield each


def _is_in_range(name: str, size: int, removal: WalRemoval) -> bool:
    try:
        file = parse_wal_name(name)
        segment: WalSegment | None = file.segment(size) if isinstance(file, SegmentFile) else None
    except UsageError:
        return False
    return segment is not None and any(segment in each for each in removal.ranges)
