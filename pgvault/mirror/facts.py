"""Look at two copies: what each holds, and what the roots say that one of them lacks. No key is asked for.

The source is listed first: what comes in between is for the next time. Lengths and names are all that a listing is
believed; whatever is brought is read whole and checked, and a root is put only after another look at what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from pgvault.errors import (
    ConfigInvalid,
    FormatUnsupported,
    ObjectCorrupt,
    ObjectMissing,
    RepositoryForeign,
    RepositoryMissing,
)
from pgvault.mirror.plan import Lane, MirrorFacts, RootFact
from pgvault.pipeline.header import Kind, ObjectHeader
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import decode_document
from pgvault.repository.lengths import lengths_of
from pgvault.repository.names import ROOT, is_local, parse_backup
from pgvault.repository.refs import decode_refs
from pgvault.repository.whole import check_whole
from pgvault.stores.base import LinkedStore, ObjectStore
from pgvault.stores.commit import put_object

TIMELINE_DIGITS = 8
GROWING = 3  # the last directories of a timeline, and the last labels, that are looked at each time
AUDIT_GROWING = 2  # groups of an audit chain
LOOK_AGAIN_SECONDS = 3600.0
DAMAGE = (FormatUnsupported, ObjectCorrupt, ObjectMissing)


class Settled:
    """Remembers places that were the same in both copies and change no more, so that a watch need not list them anew.

    From time to time all is looked at again: nothing keeps anybody from writing there, or from removing something.
    """

    def __init__(self, *, monotonic: Callable[[], float], seconds: float = LOOK_AGAIN_SECONDS) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._since = monotonic()
        self._places: set[str] = set()

    def __contains__(self, place: str) -> bool:
        if self._monotonic() - self._since > self._seconds:
            self._places.clear()
            self._since = self._monotonic()
        return place in self._places

    def add(self, place: str) -> None:
        """Remember a place."""
        self._places.add(place)


@dataclass(frozen=True, slots=True)
class Scope:
    """What of two copies is compared. The audit chains belong to the whole repository, and always are."""

    clusters: Collection[str] | None = None  # None: all
    is_hasty: bool = False  # of the audit chains the newest groups alone: whoever looks often need not list years

    def takes(self, cluster: str) -> bool:
        """Whether a cluster is compared."""
        return self.clusters is None or cluster in self.clusters


def read_facts(
    source: Copy,
    target: Copy,
    lane: Lane,
    *,
    scope: Scope | None = None,
    settled: Settled | None = None,
) -> MirrorFacts:
    """List both copies, or what `scope` limits that to. Raises StoreUnreachable, StoreDenied."""
    scope = scope or Scope()
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    names = [name for name in source.store.children(layout.CLUSTERS) if scope.takes(name)]
    places = [place for cluster in names for place in _places(source.store, cluster, lane)]
    if lane is Lane.BACKUPS:
        places += (place for place in _audit_places(source.store) if place.grows or not scope.is_hasty)
    for place in places:
        if settled is not None and place.path in settled:
            continue
        here, there = _lengths(source.store, target.store, place.path)
        ours |= here
        theirs |= there
        if settled is not None and not place.grows and here == there:
            settled.add(place.path)
    facts = MirrorFacts(ours, theirs)
    return facts if lane is Lane.WAL else _with_roots(source, target, facts)


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of a copy that is listed at a time: a directory, or one object."""

    path: str
    grows: bool  # whether it is likely to change at any moment


def _lengths(source: ObjectStore, target: ObjectStore, path: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return what both hold at a place of the source."""
    here = {entry.key: entry.size for entry in source.list(path)}
    if not here:  # it is an object, or went meanwhile
        return lengths_of(source, [path]), lengths_of(target, [path])
    return here, {entry.key: entry.size for entry in target.list(path)}


def _places(store: ObjectStore, cluster: str, lane: Lane) -> Iterator[_Place]:
    if lane is Lane.WAL:
        for system in store.children(layout.wals(cluster)):
            prefix = f"{layout.wals(cluster)}/{system}"
            names = store.children(prefix)
            newest: dict[str, list[str]] = {}
            for name in names:
                newest.setdefault(name[:TIMELINE_DIGITS], []).append(name)
            growing = {name for of_timeline in newest.values() for name in of_timeline[-GROWING:]}
            yield from (_Place(f"{prefix}/{name}", name in growing) for name in names)
        return
    for below in store.children(layout.cluster(cluster)):
        prefix = f"{layout.cluster(cluster)}/{below}"
        if prefix == layout.backups(cluster):
            labels = store.children(prefix)
            yield from (_Place(f"{prefix}/{label}", label in labels[-GROWING:]) for label in labels)
        elif prefix != layout.wals(cluster):
            yield _Place(prefix, grows=True)


def _audit_places(store: ObjectStore) -> Iterator[_Place]:
    """Yield the groups of the audit chains; the last of each grows, and so may the one before have done until now."""
    for signer in store.children(layout.AUDIT):
        groups = store.children(layout.audit_chain(signer))
        yield from (
            _Place(f"{layout.audit_chain(signer)}/{group}", group in groups[-AUDIT_GROWING:]) for group in groups
        )


def _with_roots(source: Copy, target: Copy, facts: MirrorFacts) -> MirrorFacts:
    """Read the roots that the target lacks or has otherwise, and add the lengths of what else they need."""
    wanted = [
        path
        for path in facts.source
        if (name := parse_backup(path)) and name.rest == ROOT and facts.target.get(path) != facts.source[path]
    ]
    roots = {path: _read_root(source.store, path) for path in wanted}
    # WAL, and what lies in places that were passed over as settled.
    needed = {path for fact in roots.values() for path in fact.needs if path not in facts.source}
    ours = {**facts.source, **lengths_of(source.store, needed)}
    return replace(facts, source=ours, target={**facts.target, **lengths_of(target.store, needed)}, roots=roots)


def _read_root(store: ObjectStore, path: str) -> RootFact:
    try:
        body = store.get(path)
        check_whole(path, body)
        if ObjectHeader.decode(body, where=path).kind is Kind.ABORTED:
            return RootFact(is_aborted=True)
        refs = f"{path.rpartition('/')[0]}/refs"
        raw = store.get(refs)
        check_whole(refs, raw)
        return RootFact(needs=decode_refs(raw, where=refs))
    except DAMAGE as error:
        return RootFact(error=error)


def is_begun(source: Copy, target: Copy) -> bool:
    """Tell whether the target holds the source's repository; False: it is empty. Nothing is written.

    Raises RepositoryMissing for a source without one, RepositoryForeign for a target with anything else,
    ConfigInvalid for a target that is the source.
    """
    identity = _identity(source)
    if isinstance(source.store, LinkedStore) and source.store.is_place_of(target.store):
        raise ConfigInvalid(
            f"copies {source.name!r} and {target.name!r} are one directory ({target.store.url})",
            hint="Whatever is lost there is lost in both. Is a disk not mounted, or a link where it should be?",
        )
    names = {name for name in target.store.children("") if not is_local(name)}
    if layout.IDENTITY in names:
        if _id_of(target.store.get(layout.IDENTITY)) != _id_of(identity):
            raise RepositoryForeign(f"copy {target.name!r} holds another repository ({target.store.url})")
        return True
    foreign = names - {layout.KEYS}
    if foreign:
        raise RepositoryForeign(
            f"copy {target.name!r} is not empty and holds no pgvault repository: {min(foreign)!r} is there",
            hint="Give pgvault a prefix or directory of its own.",
        )
    return False


def require_begun(source: Copy, target: Copy) -> None:
    """As `is_begun`; raises RepositoryMissing for an empty target."""
    if not is_begun(source, target):
        raise RepositoryMissing(
            f"copy {target.name!r} holds no repository ({target.store.url})",
            hint="Is its disk mounted? A new copy is begun with: pgvault copy, or pgvault init",
        )


def bring_identity(source: Copy, target: Copy) -> int:
    """Bring the target the keys and the identity that it lacks; return how many documents that were."""
    held = set(target.store.children(layout.KEYS))
    missing = [f"{layout.KEYS}/{name}" for name in source.store.children(layout.KEYS) if name not in held]
    for path in missing:
        body = source.store.get(path)
        check_whole(path, body)
        put_object(target.store, path, body)
    if layout.IDENTITY in target.store.children(""):
        return len(missing)
    put_object(target.store, layout.IDENTITY, _identity(source))  # last: from here on it can be opened
    return len(missing) + 1


def _identity(source: Copy) -> bytes:
    try:
        return source.store.get(layout.IDENTITY)
    except ObjectMissing as error:
        raise RepositoryMissing(
            f"copy {source.name!r} holds no repository ({source.store.url})",
            hint="Is its disk mounted, is it the right place?",
        ) from error


def _id_of(raw: bytes) -> object:
    return decode_document(raw, "pgvault", where=layout.IDENTITY).get("repository_id")
