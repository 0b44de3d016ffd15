"""What each copy holds of the audit chains, read back by itself: what judging them (`verify`) asks for.

    each copy, the deciding one last ─► names ─► every entry: opens, signature, place ─► Seen, or why not

Bytes are taken as they lie there now: neither another copy nor an older version heals them on the way. The deciding
copy comes last, so that what another one holds must be in it, too; and a chain that grew since it was listed, as
entries of other chains tell, is listed once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pgvault.audit.chain import entry_at, read_body
from pgvault.audit.entry import Entry, Head
from pgvault.audit.signer import PublicKey
from pgvault.errors import ConfigInvalid, ObjectMissing, PgvaultError
from pgvault.instants import iso
from pgvault.pooling import map_bounded
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.fields import read_instant
from pgvault.repository.reader import DAMAGE, SILENCE
from pgvault.repository.repository import Repository

CHECKPOINT = "checkpoint"  # what of an event
REST = timedelta(days=31)  # for which a host may have recorded nothing just where its chain is cut
JOBS = 8
ROUNDS = 3  # in which a chain that grows meanwhile is followed


@dataclass(frozen=True, slots=True)
class Cut:
    """What a checkpoint says: everything before a number may be gone."""

    first: int  # number of the first entry that stays
    sha256: bytes  # of the last one that goes
    at: datetime  # when that was

    @classmethod
    def of(cls, entry: Entry) -> Cut | None:
        """Read what an entry says, if it is a checkpoint of its own chain."""
        details = entry.event.get("details")
        if entry.event.get("what") != CHECKPOINT or not isinstance(details, dict):
            return None
        first, digest = details.get("first"), details.get("cut_sha256")
        if type(first) is not int or not isinstance(digest, str) or not 0 < first <= entry.place.number:
            return None
        try:
            return cls(first, bytes.fromhex(digest), read_instant(details.get("cut_at")))
        except (TypeError, ValueError):
            return None

    def event(self) -> dict[str, object]:
        """Return the event of a checkpoint, as far as it is about the chain."""
        return {"first": self.first, "cut_sha256": self.sha256.hex(), "cut_at": iso(self.at)}

    def why_not(self, *, said_at: datetime, first_at: datetime, keep: timedelta) -> str | None:
        """Say why a checkpoint may not cut that; None: it may. `first_at` is of the first entry that stays.

        Whoever stole the key can say of what is gone that it was old: so what follows it must be about as old.
        """
        if self.at > said_at - keep:
            return f"of {iso(self.at)}, which was to be kept until {iso(self.at + keep)}"
        if first_at - self.at > REST:
            return f"called as old as {iso(self.at)}, and the first that stays is of {iso(first_at)}"
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry whose signature and place were checked, less what happened."""

    sha256: bytes  # of the whole
    key: PublicKey
    previous: bytes | None
    at: datetime
    store_at: datetime | None
    heads: Mapping[str, Head]
    cut: Cut | None  # of a checkpoint

    @classmethod
    def of(cls, entry: Entry) -> Seen:
        """Return what judging asks of an entry."""
        place = entry.place
        head = entry.head.sha256
        return cls(head, entry.key, place.previous, entry.at, place.store_at, place.heads, Cut.of(entry))


@dataclass(slots=True)
class Chain:
    """What a copy holds of one chain."""

    signer: str
    entries: dict[int, Seen] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)  # why an entry is none of this place
    strange: list[str] = field(default_factory=list)  # names that no entry has

    @property
    def numbers(self) -> set[int]:
        """Of all entries that are there, good or bad."""
        return self.entries.keys() | self.damaged.keys()


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """What a copy holds of all chains."""

    copy: str
    chains: Mapping[str, Chain] = field(default_factory=dict)  # by signer
    silence: PgvaultError | None = None  # why that is not known
    lag: timedelta = timedelta(0)  # for which a further copy may lack something


def gather(repository: Repository, *, only: str | None = None, jobs: int = JOBS) -> tuple[CopyFacts, ...]:
    """Read every chain in every copy, or in one; the deciding copy is the first of what is returned.

    Raises ConfigInvalid when there is no copy of that name.
    """
    copies = [copy for copy in repository.copies if only in (None, copy.name)]
    if not copies:
        known = ", ".join(copy.name for copy in repository.copies)
        raise ConfigInvalid(f"there is no copy {only!r}", hint=f"The copies are: {known}")
    first, *others = copies
    left_out = [CopyFacts(each.name, silence=each.error) for each in repository.left_out if only in (None, each.name)]
    with ThreadPoolExecutor(jobs, thread_name_prefix="audit") as pool:
        further = [_read_copy(repository, copy, pool) for copy in others]
        return (_read_copy(repository, first, pool), *further, *left_out)


def _read_copy(repository: Repository, copy: Copy, pool: ThreadPoolExecutor) -> CopyFacts:
    chains: dict[str, Chain] = {}
    try:
        for signer in copy.store.children(layout.AUDIT):
            chains[signer] = Chain(signer)
            _extend(repository, copy, chains[signer], pool)
        for _ in range(ROUNDS):
            for signer in list(_grown(chains)):
                _extend(repository, copy, chains.setdefault(signer, Chain(signer)), pool)
    except SILENCE as error:
        return CopyFacts(copy.name, chains, error, copy.backup_lag)
    found = {signer: chain for signer, chain in chains.items() if chain.numbers or chain.strange}
    return CopyFacts(copy.name, found, None, copy.backup_lag)


def _grown(chains: Mapping[str, Chain]) -> Iterator[str]:
    """Yield the chains of which an entry is named behind the last one that was read."""
    named: dict[str, int] = {}
    for chain in chains.values():
        for seen in chain.entries.values():
            for signer, head in seen.heads.items():
                named[signer] = max(head.number, named.get(signer, -1))
    for signer, number in named.items():
        if number > max(chains[signer].numbers if signer in chains else (), default=-1):
            yield signer


def _extend(repository: Repository, copy: Copy, chain: Chain, pool: ThreadPoolExecutor) -> None:
    """List a chain, and read what was not read before."""
    prefix = layout.audit_chain(chain.signer)
    names = [entry.key for entry in copy.store.list(prefix)]
    named = {name: layout.parse_audit_entry(name) for name in names}
    chain.strange = [name for name, place in named.items() if place is None]
    known = chain.numbers
    new = [place[1] for place in named.values() if place is not None and place[1] not in known]

    def look(number: int) -> tuple[int, Seen | str | None]:
        try:
            return number, Seen.of(_read(repository, copy, chain.signer, number))
        except ObjectMissing:
            return number, None  # gone since it was listed
        except DAMAGE as error:
            return number, str(error)

    for number, found in map_bounded(pool, look, new, ahead=4 * JOBS):
        if isinstance(found, Seen):
            chain.entries[number] = found
        elif found is not None:
            chain.damaged[number] = found


def _read(repository: Repository, copy: Copy, signer: str, number: int) -> Entry:
    path = layout.audit_entry(signer, number)
    return read_body(repository, path, copy.store.get(path))


def last_checkpoint(repository: Repository, signer: str, numbers: Sequence[int]) -> Entry | None:
    """Return the last checkpoint that the chain itself agrees with; its entries are read from the end backwards."""
    for number in reversed(numbers):
        try:
            entry = entry_at(repository, signer, number)
            cut = Cut.of(entry)
            if cut is not None and entry_at(repository, signer, cut.first).place.previous == cut.sha256:
                return entry
        except (*DAMAGE, ObjectMissing):
            continue
    return None
