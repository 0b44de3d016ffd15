"""Remove labels: whole backups whose grace is over, and what killed ones have left.

    announce ─► look at holds and readers ─► in each copy, the deciding one last:
        (say so there, too) ─► root ─► look at readers ─► refs ─► what no other root of this copy needs ─► verified
    ─► when nothing is left in any copy: tombstones, in the deciding copy last

Without its root a label is no backup, so what `list` shows is whole at any moment, and whoever is killed here is
followed by one who goes on: the tombstone says that it was begun. While a root is locked by the store nothing is
announced: such a backup waits, whole, and can be taken back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import Enum

from pgvault.errors import ObjectExists
from pgvault.expire.actions import Removal, Sweep
from pgvault.expire.carrying import Run
from pgvault.expire.copyroots import CopyRoots
from pgvault.expire.gather import RECORDS_KEPT
from pgvault.expire.removing import Found
from pgvault.instants import iso
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, read_root
from pgvault.repository.tombstones import ROOT_GOES, State, Tombstone, announce_in, begin_removal, keep, read_tombstone

logger = logging.getLogger(__name__)


class Left(Enum):
    """What is left of a label in one copy."""

    NOTHING = "nothing"
    DATA = "data"  # locked, denied, or part of other backups
    PINNED = "pinned"  # data, for somebody who reads it
    ROOT = "root"  # all of it


def remove_label(run: Run, removal: Removal) -> None:
    """Remove a marked backup from every copy that holds something of it."""
    label = removal.label
    run.require_held()
    known = read_tombstone(run.deciding, run.cluster, label)
    if known is None or not known.stands:
        run.report.left[label] = "it was taken back"
        return
    objects = {name: run.removers[name].find(layout.backup(run.cluster, label)) for name in removal.copies}
    if known.state is State.MARKED and _is_guarded(run, label, objects):
        return
    begun = begin_removal(run.repository, run.cluster, known)
    if begun is None:
        run.report.left[label] = "it was taken back"
        return
    if _is_withdrawn(run, begun, was_begun=known.state is State.BEGUN):
        return
    left = []
    for name in removal.copies:
        left.append(_remove_from(run, run.gathered.roots[name], begun, objects[name]))
        if left[-1] in (Left.ROOT, Left.PINNED):
            return
    if all(each is Left.NOTHING for each in left):
        for name in removal.copies:
            remover = run.removers[name]
            remover.remove(remover.find(layout.backup(run.cluster, label)))
        run.report.removed.append(label)
        logger.info("removed backup %s", label)


def sweep_label(run: Run, sweep: Sweep) -> None:
    """Remove what is left of a backup that was never committed; the aborted record last, and much later."""
    label = sweep.label
    began_at = layout.stamped_at(label)
    is_old = began_at is not None and run.terms.clock.now() - began_at >= RECORDS_KEPT
    run.require_held()
    if sweep.is_to_be_aborted:
        try:
            abort_label(run.repository, run.cluster, label, reason=f"swept by {run.by}")
        except ObjectExists:
            if read_root(run.deciding, run.cluster, label) is not None:
                run.report.left[label] = "it was committed at this moment"
                return
    worker = run.reader_of(label)
    if worker is not None:
        run.report.left[label] = worker
        return
    is_gone = True
    for name in run.copies_in_order:
        roots = run.gathered.roots[name]
        roots.refresh()
        if label in roots.backups or label in roots.unreadable:
            continue  # a sync copy had the root already: `pgvault copy` puts the aborted record there
        root = layout.manifest(run.cluster, label)
        needed = roots.needed_below(label)
        found = run.removers[name].find(layout.backup(run.cluster, label))
        is_gone &= run.removers[name].remove(each for each in found if each.key != root and each.key not in needed)
        if is_gone and is_old and not needed and not sweep.is_to_be_aborted:
            run.removers[name].remove(each for each in found if each.key == root)
    run.report.swept.append(label)
    logger.info("swept %s", label)


def _is_guarded(run: Run, label: str, objects: dict[str, list[Found]]) -> bool:
    """Tell whether a copy's store guards the root, so that the backup can not go yet."""
    path = layout.manifest(run.cluster, label)
    for name, found in objects.items():
        until = run.removers[name].guarded_until(each for each in found if each.key == path)
        if until is not None:
            run.report.left[label] = f"its root is locked in copy {name!r} until {iso(until)}"
            return True
    return False


def _is_withdrawn(run: Run, begun: Tombstone, *, was_begun: bool) -> bool:
    """Take an announced removal back if somebody wants the backup, and it is whole in the deciding copy.

    What a run before announced and did not do was perhaps held since; that hold the plan knows of.
    """
    label = begun.label
    is_whole = label in run.gathered.roots[run.repository.deciding.name].backups
    hold = run.any_hold(label) if was_begun and is_whole else run.new_hold(label)
    reason = hold or run.reader_of(label)
    if reason is None:
        return False
    if is_whole:
        for name in run.copies_in_order[:-1]:  # what a killed run removed there, `pgvault copy` brings back
            remover = run.removers[name]
            found = remover.find(layout.tombstones(run.cluster, label))
            remover.remove(each for each in found if each.key == layout.tombstone(run.cluster, label, ROOT_GOES))
        keep(run.repository, run.cluster, begun, run.order(reason))
        run.report.kept[label] = reason
    run.report.left[label] = reason
    return True


def _remove_from(run: Run, roots: CopyRoots, begun: Tombstone, objects: Iterable[Found]) -> Left:
    label = begun.label
    remover = run.removers[roots.copy.name]
    roots.refresh()
    if roots.unreadable:
        run.report.left[label] = f"copy {roots.copy.name!r} holds roots that do not open"
        return Left.ROOT
    found = list(objects)
    path = layout.manifest(run.cluster, label)
    if roots.copy.name != run.repository.deciding.name:
        announce_in(roots.repository, run.cluster, begun)
    if not remover.remove(each for each in found if each.key == path):
        run.report.left[label] = f"its root could not be removed from copy {roots.copy.name!r}"
        return Left.ROOT
    roots.forget(label)
    reader = run.reader_of(label)
    if reader is not None:
        run.report.left[label] = reader
        return Left.PINNED
    return _remove_data(run, roots, label, found)


def _remove_data(run: Run, roots: CopyRoots, label: str, found: Iterable[Found]) -> Left:
    remover = run.removers[roots.copy.name]
    root, refs = layout.manifest(run.cluster, label), layout.refs(run.cluster, label)
    marks = (f"{layout.all_verified(run.cluster, label)}/", f"{layout.drilled(run.cluster, label)}/")
    tombstones = f"{layout.tombstones(run.cluster, label)}/"
    needed = roots.needed_below(label)
    data: list[Found] = []
    last: list[Found] = []  # they say that it was a backup
    for each in found:
        if each.key.startswith(marks):
            last.append(each)
        elif each.key not in (root, refs) and each.key not in needed and not each.key.startswith(tombstones):
            data.append(each)
    is_gone = remover.remove(each for each in found if each.key == refs)
    is_gone &= remover.remove(data)
    if needed:
        run.report.left[label] = f"{len(needed)} of its objects are part of other backups"
        return Left.DATA
    if not is_gone:
        run.report.left[label] = f"some of its objects could not be removed from copy {roots.copy.name!r}"
        return Left.DATA
    return Left.NOTHING if remover.remove(last) else Left.DATA
