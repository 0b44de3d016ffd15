"""Decide what a copy is to be brought, and in which order; pure, so that every rule is tested without a store.

    WAL        histories ─► segments and what else lies there ─► tails of segments that are not there yet
               ─► tails go that the source has no more, once what holds their bytes is in the target
    backups    systems, holds, gaps, … ─► label by label: data, and WAL that it needs ─► refs ─► root
               ─► tombstones and what was verified or drilled

A root comes only when the target holds everything in its `refs`: so whatever is killed, what `list` shows in a copy is
whole there. An aborted record of the deciding copy takes the place of a root that the target has. What both hold with
different lengths is damage in one of them, and what a backup lacks beside its root was lost: told, never healed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pgvault.errors import PgvaultError, UsageError
from pgvault.repository import layout
from pgvault.repository.names import MARKS, BackupName, is_wal, parse_backup, tailed_segment
from pgvault.repository.tails import SPAN_TEXT, Span
from pgvault.repository.tombstones import ROOT_GOES

HEAL = "See: pgvault verify --repair."
NOTHING: frozenset[str] = frozenset()


class Lane(StrEnum):
    """What is brought side by side: a backup that takes hours must not hold up WAL."""

    WAL = "wal"
    BACKUPS = "backups"


@dataclass(frozen=True, slots=True)
class RootFact:
    """What a root or aborted record of the source, that the target lacks or has otherwise, says without a key."""

    is_aborted: bool = False
    needs: Mapping[str, bytes] = field(default_factory=dict)  # everything in its refs, with their SHA-256
    error: PgvaultError | None = None  # it, or its refs, are damaged


@dataclass(frozen=True, slots=True)
class MirrorFacts:
    """What two copies hold, as far as a plan asks: lengths in bytes by name."""

    source: Mapping[str, int]
    target: Mapping[str, int]
    roots: Mapping[str, RootFact] = field(default_factory=dict)  # by the manifest's name


@dataclass(frozen=True, slots=True)
class Transfer:
    """One object to bring."""

    path: str
    size: int  # bytes
    sha256: bytes | None = None  # as `refs` says
    needs: frozenset[str] = NOTHING  # what the target must hold first, else this is withheld
    replaces: bool = False  # what the target has under that name, by way of quarantine


@dataclass(frozen=True, slots=True)
class Removal:
    """An object of the target that has become superfluous."""

    path: str
    behind: frozenset[str]  # as soon as the target has one of these


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not brought, and why."""

    path: str
    why: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What to do in one target; stages come one after the other, transfers in a stage side by side."""

    stages: tuple[tuple[Transfer, ...], ...] = ()
    removals: tuple[Removal, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """All objects to bring."""
        return tuple(transfer for stage in self.stages for transfer in stage)

    @property
    def size(self) -> int:
        """Bytes to bring."""
        return sum(transfer.size for transfer in self.transfers)

    @property
    def own(self) -> CopyPlan:
        """A plan for backups without the WAL that they need: it is counted with WAL, which has its own lane."""
        stages = (tuple(each for each in stage if not is_wal(each.path)) for stage in self.stages)
        return replace(self, stages=tuple(stage for stage in stages if stage))


def plan_wal(facts: MirrorFacts) -> CopyPlan:
    """Plan what to bring of WAL."""
    missing = [path for path in sorted(facts.source) if path not in facts.target]
    tails = [path for path in missing if tailed_segment(path) is not None]
    rest = [path for path in missing if tailed_segment(path) is None]
    histories = [path for path in rest if path.endswith(".history")]
    useful = [path for path in tails if tailed_segment(path) not in facts.source]
    stages = (histories, [path for path in rest if not path.endswith(".history")], useful)
    return CopyPlan(
        tuple(tuple(Transfer(path, facts.source[path]) for path in stage) for stage in stages if stage),
        tuple(_removals(facts)),
        tuple(_differing(facts, facts.source)),
    )


def _removals(facts: MirrorFacts) -> Iterator[Removal]:
    """Tails that only the target has: merged in the source since, or made superfluous by their segment."""
    held: dict[str, list[tuple[Span, str]]] = {}
    for path in facts.source:
        segment, span = tailed_segment(path), _span(path)
        if segment is not None and span is not None:
            held.setdefault(segment, []).append((span, path))
    for path in facts.target:
        segment, span = tailed_segment(path), _span(path)
        if segment is None or span is None or path in facts.source:
            continue
        behind = {other for wider, other in held.get(segment, ()) if wider.holds(span)}
        yield Removal(path, frozenset(behind | {segment} if segment in facts.source else behind))


def _span(path: str) -> Span | None:
    match = SPAN_TEXT.fullmatch(path.rpartition("/")[2])
    return None if match is None else Span(int(match[1], 16), int(match[2], 16))


def plan_backups(facts: MirrorFacts) -> CopyPlan:
    """Plan what to bring of all but WAL; WAL that a backup needs is brought with it."""
    labels: dict[tuple[str, str], list[BackupName]] = {}
    others: list[str] = []
    for path in facts.source:
        name = parse_backup(path)
        if name is not None:
            labels.setdefault((name.cluster, name.label), []).append(name)
        elif not is_wal(path):  # whose lengths are among the facts where a backup needs it
            others.append(path)
    stages = [tuple(Transfer(path, facts.source[path]) for path in sorted(others) if path not in facts.target)]
    problems = list(_differing(facts, others))
    planned: set[str] = set()
    for (cluster, label), names in sorted(labels.items(), key=lambda item: item[0]):
        backup = _plan_backup(facts, cluster, label, [name.rest for name in names], planned)
        stages += backup.stages
        problems += backup.problems
        planned |= {transfer.path for transfer in backup.transfers}
    return CopyPlan(tuple(stage for stage in stages if stage), (), tuple(problems))


def _plan_backup(facts: MirrorFacts, cluster: str, label: str, rests: list[str], planned: set[str]) -> CopyPlan:
    prefix, root = layout.backup(cluster, label), layout.manifest(cluster, label)
    fact = facts.roots.get(root)
    if root not in facts.source or (root not in facts.target and _is_removed(facts, prefix)):
        return CopyPlan()  # not committed, or removed from the target already: nobody's
    if fact is not None and fact.error is not None:
        return CopyPlan(problems=(Problem(root, f"the source is damaged: {fact.error}", HEAL),))
    if fact is not None and fact.is_aborted:
        aborted = Transfer(root, facts.source[root], replaces=root in facts.target)
        return CopyPlan(((aborted,),))
    own = {f"{prefix}/{rest}" for rest in rests}
    marks = {path for path in own if _is_mark(path.removeprefix(f"{prefix}/"))}
    if fact is None:  # the target has the root, so everything was there when it came
        missing = sorted(path for path in marks if path not in facts.target)
        stages = (tuple(Transfer(path, facts.source[path]) for path in missing),)
        problems = [*_differing(facts, own), *_lost(facts, prefix, own - marks)]
        return CopyPlan(stages if missing else (), (), tuple(problems))
    return _plan_root(facts, root, own - marks - {root}, marks, planned)


def _plan_root(facts: MirrorFacts, root: str, own: set[str], marks: set[str], planned: set[str]) -> CopyPlan:
    """Plan a backup that the target lacks the root of; `own` are its objects but root and `marks`."""
    fact = facts.roots[root]
    refs = f"{root.rpartition('/')[0]}/refs"
    needed = own | set(fact.needs) | {refs}
    problems = list(_differing(facts, needed | {root}))
    lacking = sorted(path for path in needed if path not in facts.source and path not in facts.target)
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        problems.append(Problem(root, f"the source lacks {lacking[0]!r}{more}", HEAL))
    missing = [path for path in sorted(needed) if path not in facts.target and path in facts.source]
    data = tuple(_transfer(facts, fact, path) for path in missing if path != refs and path not in planned)
    stages = [data, tuple(_transfer(facts, fact, path) for path in missing if path == refs)]
    if not problems:
        stages.append((Transfer(root, facts.source[root], needs=frozenset(needed)),))
        left = sorted(path for path in marks if path not in facts.target)
        stages.append(tuple(Transfer(path, facts.source[path], needs=frozenset({root})) for path in left))
    return CopyPlan(tuple(stage for stage in stages if stage), (), tuple(problems))


def _transfer(facts: MirrorFacts, fact: RootFact, path: str) -> Transfer:
    return Transfer(path, facts.source[path], fact.needs.get(path))


def _is_mark(rest: str) -> bool:
    """Tell whether an object tells about a backup without being part of it."""
    return rest.split("/", 1)[0] in MARKS


def _is_removed(facts: MirrorFacts, prefix: str) -> bool:
    """Tell whether the target had a backup and it was removed there, which it says by a mark of its own."""
    return f"{prefix}/tombstones/{ROOT_GOES:08d}" in facts.target


def _lost(facts: MirrorFacts, prefix: str, own: set[str]) -> Iterator[Problem]:
    """What a backup has lacked in the target since its root came there; one problem, however many objects those are.

    Not where the backup may be going at this moment: root and data are listed one after the other.
    """
    lost = sorted(path for path in own if path not in facts.target)
    if lost and not _is_removed(facts, prefix):
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        yield Problem(lost[0], f"it was lost here, where its backup's root is{more}", HEAL)


def _differing(facts: MirrorFacts, paths: Iterable[str]) -> Iterator[Problem]:
    for path in sorted(paths):
        ours, theirs = facts.source.get(path), facts.target.get(path)
        if ours is not None and theirs is not None and ours != theirs:
            why = f"it has {theirs} bytes here and {ours} in the deciding copy"
            yield Problem(path, f"one of them is damaged: {why}", HEAL)


def plan_copy(lane: Lane, facts: MirrorFacts) -> CopyPlan:
    """Plan what to bring of one lane. Raises UsageError for a lane that there is not."""
    match lane:
        case Lane.WAL:
            return plan_wal(facts)
        case Lane.BACKUPS:
            return plan_backups(facts)
    raise UsageError(f"no such lane: {lane!r}")
