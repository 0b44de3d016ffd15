"""Look at two copies: what each holds, and what the roots say that one of them lacks. No key is asked for.

The source is listed first: what comes in between is for the next time. Lengths and names are all that a listing is
believed; whatever is brought is read whole and checked, and a root is put only after another look at what it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, RepositoryForeign, RepositoryMissing
from pgvault.mirror.plan import Lane, MirrorFacts, RootFact
from pgvault.pipeline.header import Kind, ObjectHeader
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import decode_document
from pgvault.repository.lengths import lengths_of
from pgvault.repository.names import ROOT, is_local, is_wal, parse_backup
from pgvault.repository.refs import decode_refs
from pgvault.repository.whole import check_whole
from pgvault.stores.base import ObjectStore
from pgvault.stores.commit import put_object

DAMAGE = (FormatUnsupported, ObjectCorrupt, ObjectMissing)


def read_facts(source: Copy, target: Copy, lane: Lane, *, clusters: Collection[str] | None = None) -> MirrorFacts:
    """List both copies; `clusters` limits that to some. Raises StoreUnreachable, StoreDenied."""
    ours = dict(_listed(source.store, lane, clusters))
    facts = MirrorFacts(ours, dict(_listed(target.store, lane, clusters)))
    return facts if lane is Lane.WAL else _with_roots(source, target, facts)


def _listed(store: ObjectStore, lane: Lane, clusters: Collection[str] | None) -> Iterator[tuple[str, int]]:
    for cluster in store.children(layout.CLUSTERS):
        if clusters is not None and cluster not in clusters:
            continue
        for below in store.children(layout.cluster(cluster)):
            prefix = f"{layout.cluster(cluster)}/{below}"
            if is_wal(f"{prefix}/") == (lane is Lane.WAL):
                yield from ((entry.key, entry.size) for entry in store.list(prefix))


def _with_roots(source: Copy, target: Copy, facts: MirrorFacts) -> MirrorFacts:
    """Read the roots that the target lacks or has otherwise, and add the lengths of the WAL that they need."""
    wanted = [
        path
        for path in facts.source
        if (name := parse_backup(path)) and name.rest == ROOT and facts.target.get(path) != facts.source[path]
    ]
    roots = {path: _read_root(source.store, path) for path in wanted}
    wal = {path for fact in roots.values() for path in fact.needs if is_wal(path)}
    ours = {**facts.source, **lengths_of(source.store, wal)}
    return replace(facts, source=ours, target={**facts.target, **lengths_of(target.store, wal)}, roots=roots)


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


def require_same(source: Copy, target: Copy, *, may_begin: bool) -> int:
    """See that both copies are of one repository; bring an empty target its keys and identity, if it `may_begin`.

    Keys that came later are brought, too. Returns how many documents were. Raises RepositoryMissing,
    RepositoryForeign.
    """
    try:
        identity = source.store.get(layout.IDENTITY)
    except ObjectMissing as error:
        raise RepositoryMissing(
            f"copy {source.name!r} holds no repository ({source.store.url})",
            hint="Is its disk mounted, is it the right place?",
        ) from error
    names = {name for name in target.store.children("") if not is_local(name)}
    is_new = layout.IDENTITY not in names
    if is_new:
        _require_empty(target, names, may_begin=may_begin)
    elif _id_of(target.store.get(layout.IDENTITY)) != _id_of(identity):
        raise RepositoryForeign(f"copy {target.name!r} holds another repository ({target.store.url})")
    held = set(target.store.children(layout.KEYS))
    missing = [f"{layout.KEYS}/{name}" for name in source.store.children(layout.KEYS) if name not in held]
    for path in missing:
        body = source.store.get(path)
        check_whole(path, body)
        put_object(target.store, path, body)
    if is_new:
        put_object(target.store, layout.IDENTITY, identity)  # last: from here on it can be opened
    return len(missing) + is_new


def _require_empty(target: Copy, names: set[str], *, may_begin: bool) -> None:
    foreign = names - {layout.KEYS}
    if foreign:
        raise RepositoryForeign(
            f"copy {target.name!r} is not empty and holds no pgvault repository: {min(foreign)!r} is there",
            hint="Give pgvault a prefix or directory of its own.",
        )
    if not may_begin:
        raise RepositoryMissing(
            f"copy {target.name!r} holds no repository ({target.store.url})",
            hint="Is its disk mounted? A new copy is begun with: pgvault copy, or pgvault init",
        )


def _id_of(raw: bytes) -> object:
    return decode_document(raw, "pgvault", where=layout.IDENTITY).get("repository_id")
