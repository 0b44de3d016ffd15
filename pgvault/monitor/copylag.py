"""Judge the further copies of a repository: whether each is there, and how far it is behind the first.

Names and lengths in both copies are compared as `pgvault copy` does; of what is missing the oldest says by its own
time for how long the copy has lacked it. A copy that does not answer, or holds no repository, is red: whoever believes
in a second region must not find out by losing the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pgvault.amounts import say_bytes
from pgvault.audit.chain import entry_at
from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.mirror.behind import Behind, dated, measure_behind
from pgvault.mirror.facts import Scope, read_facts, require_begun
from pgvault.mirror.plan import Lane, MirrorFacts, plan_copy
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn
from pgvault.pipeline.header import Kind
from pgvault.repository.catalog import read_root
from pgvault.repository.copies import Copy
from pgvault.repository.fields import read_instant
from pgvault.repository.names import is_audit, is_wal, parse_backup, tailed_segment
from pgvault.repository.repository import Repository
from pgvault.repository.walinfo import read_first_frame

NAME = "copy_lag"
HINT = "Does pgvault copy run for it, and what does it say?"
UNREADABLE = (FormatUnsupported, KeyError, ObjectCorrupt, ValueError, WrongKey)


@dataclass(frozen=True, slots=True)
class CopyFact:
    """A further copy, as it was found."""

    copy: str
    behind: Mapping[Lane, Behind] | PgvaultError  # why that is not known
    limits: Mapping[Lane, timedelta]
    is_source_silent: bool = False  # the deciding copy did not answer: nobody knows what this one lacks


def look_at_copies(repository: Repository, cluster: str, *, now: datetime) -> tuple[CopyFact, ...]:
    """Compare every further copy with the deciding one; those that did not answer before are not asked again."""
    unread = repository.unread
    facts = [
        CopyFact(each.name, each.error, {}, is_source_silent=False)
        for each in repository.left_out
        if not each.is_deciding
    ]
    try:
        source = repository.deciding
    except PgvaultError as error:
        return tuple(CopyFact(copy.name, error, {}, is_source_silent=True) for copy in repository.copies)
    for copy in repository.copies[1:]:
        limits = {Lane.WAL: copy.wal_lag, Lane.BACKUPS: copy.backup_lag}
        if source.name in unread:
            facts.append(CopyFact(copy.name, unread[source.name], limits, is_source_silent=True))
        elif copy.name in unread:
            facts.append(CopyFact(copy.name, unread[copy.name], limits))
        else:
            facts.append(CopyFact(copy.name, _compare(repository, copy, cluster, now), limits))
    return tuple(facts)


def _compare(repository: Repository, copy: Copy, cluster: str, now: datetime) -> Mapping[Lane, Behind] | PgvaultError:
    try:
        require_begun(repository.deciding, copy)
        found = {}
        for lane in Lane:
            plan = plan_copy(lane, _facts(repository, copy, lane, cluster))
            plan = plan.own if lane is Lane.BACKUPS else plan
            times = dict(_times(repository, dated(plan)))
            known = {path: at for path, at in times.items() if at is not None}
            behind = measure_behind(plan, known, now=now)
            damaged = {path for path, at in times.items() if at is None}.difference(each.path for each in plan.problems)
            found[lane] = replace(behind, different=behind.different + len(damaged))
    except PgvaultError as error:
        return error
    return found


def _facts(repository: Repository, copy: Copy, lane: Lane, cluster: str) -> MirrorFacts:
    return read_facts(repository.deciding, copy, lane, scope=Scope({cluster}, is_hasty=True))


def _times(repository: Repository, paths: Sequence[str]) -> Iterator[tuple[str, datetime | None]]:
    """Yield when objects were pushed, or backups committed; None for what does not open.

    That one must be red by itself: its time stands for all that is missing behind it.
    """
    for path in paths:
        name = parse_backup(path)
        try:
            if is_wal(path):
                is_tail = tailed_segment(path) is not None
                frame = json.loads(read_first_frame(repository, path, Kind.TAIL if is_tail else Kind.WAL))
                yield path, read_instant(frame["read_at" if is_tail else "pushed_at"])
            elif is_audit(path):
                signer, number = path.split("/")[1], int(path.rpartition("/")[2])
                yield path, entry_at(repository, signer, number).at
            elif name is not None:
                root = read_root(repository, name.cluster, name.label)
                if root is not None:
                    yield path, root.stopped_at
        except ObjectMissing:
            continue  # it went since it was listed
        except UNREADABLE:
            yield path, None


def judge_copies(facts: Sequence[CopyFact]) -> Iterator[Finding]:
    """Yield a finding for each further copy."""
    for fact in facts:
        figures: Figures = {"copy": fact.copy}
        if isinstance(fact.behind, PgvaultError):
            if fact.is_source_silent:
                yield warn(NAME, f"{fact.copy}: unknown, since the first copy does not answer", figures)
            else:
                yield red(NAME, f"{fact.copy}: {fact.behind}", figures, hint=fact.behind.hint or HINT)
        else:
            yield _judge(fact, fact.behind)


def _judge(fact: CopyFact, behind: Mapping[Lane, Behind]) -> Finding:
    figures: Figures = {
        "copy": fact.copy,
        "objects": sum(each.objects for each in behind.values()),
        "bytes": sum(each.size for each in behind.values()),
        "seconds": max((each.seconds for each in behind.values() if each.seconds is not None), default=0.0),
        "wal_seconds": _seconds(behind, Lane.WAL),
        "backup_seconds": _seconds(behind, Lane.BACKUPS),
        "wal_limit_seconds": fact.limits[Lane.WAL].total_seconds(),
        "backup_limit_seconds": fact.limits[Lane.BACKUPS].total_seconds(),
        "different": sum(each.different for each in behind.values()),
    }
    said = "; ".join(_words(lane, each) for lane, each in behind.items() if not each.is_level) or "up to date"
    late = [lane for lane, each in behind.items() if (each.seconds or 0.0) > fact.limits[lane].total_seconds()]
    if figures["different"]:
        return red(NAME, f"{fact.copy}: {said}", figures, hint="See: pgvault verify --repair, and pgvault copy")
    if late:
        limits = ", ".join(f"{span(fact.limits[lane])} for {lane}" for lane in late)
        return red(NAME, f"{fact.copy}: {said}; the limit is {limits}", figures, hint=HINT)
    return ok(NAME, f"{fact.copy}: {said}", figures)


def _seconds(behind: Mapping[Lane, Behind], lane: Lane) -> float | None:
    each = behind.get(lane)
    if each is None:
        return None
    return each.seconds if not each.is_level else 0.0


def _words(lane: Lane, behind: Behind) -> str:
    since = "" if behind.seconds is None else f", the oldest for {span(behind.seconds)}"
    different = f", {behind.different} damaged or lost in one of both" if behind.different else ""
    return f"{lane}: {behind.objects} objects missing, {say_bytes(behind.size)}{since}{different}"
