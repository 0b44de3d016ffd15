"""Judge the audit chains: pure, from what each copy holds (`facts`) and whose signatures count (`trust`).

    in each copy     every entry opens and stands where it says; none is missing; each names the hash of the one before
    between copies   the same entries under the same numbers; the deciding copy holds all that any other does
    between chains   the ends that entries of other chains name, and those that somebody kept outside, are there
    whose            only keys that the verifier's own configuration names count

That entries are missing at the very end shows in nothing but what names them: where nothing does, it is
said that the end is not provable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pgvault.audit.facts import Chain, CopyFacts, Seen
from pgvault.audit.links import CLOCK_SLACK, begin_of, judge_chain
from pgvault.audit.remark import Remark, Weight, ranges, spans
from pgvault.audit.trust import THIS_HOST, Kept, Trust
from pgvault.errors import VerifyFailed

NOT_PINNED = "not-pinned"


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """One chain, as the deciding copy holds it."""

    signer: str
    name: str  # for people
    public_key: str | None  # None: no entry opens
    is_believed: bool
    first: int
    last: int
    last_at: datetime | None
    last_sha256: bytes | None
    proven_to: int | None  # the last number that something outside the chain names


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    chains: tuple[ChainVerdict, ...] = ()
    entries: int = 0  # that were read back, in all copies together
    remarks: tuple[Remark, ...] = field(default=())

    def of(self, weight: Weight) -> list[Remark]:
        """The remarks of one weight."""
        return [remark for remark in self.remarks if remark.weight is weight]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is broken."""
        return not self.of(Weight.BROKEN)

    @property
    def is_proven(self) -> bool:
        """Whether nothing is broken, and it is known who signed."""
        return self.is_whole and not any(remark.kind == NOT_PINNED for remark in self.remarks)

    def require_whole(self) -> None:
        """Raise VerifyFailed where anything is broken."""
        broken = self.of(Weight.BROKEN)
        if broken:
            raise VerifyFailed(
                f"the audit chain is broken: {len(broken)} findings; first, {broken[0]}",
                hint="Nothing was changed. What another copy, a receipt or an export holds tells what was there.",
            )


def judge(facts: Sequence[CopyFacts], trust: Trust, *, now: datetime, kept: Sequence[Kept] = ()) -> Verdict:
    """Judge what the copies hold, the deciding one first; `kept` is what is known from elsewhere."""
    return _Court(facts, trust, now, kept).judge()


class _Court:
    """What is known while it is judged."""

    def __init__(self, facts: Sequence[CopyFacts], trust: Trust, now: datetime, kept: Sequence[Kept]) -> None:
        self._facts = facts
        self._trust = trust
        self._now = now
        self._kept = kept
        answered = [each for each in facts if each.silence is None]
        self._main = answered[0] if answered else None  # the deciding copy, or what stands for it
        self._begins = {name: begin_of(chain) for name, chain in self._main_chains.items()}

    @property
    def _main_chains(self) -> Mapping[str, Chain]:
        return {} if self._main is None else self._main.chains

    def judge(self) -> Verdict:
        remarks = [*self._judge_presence(), *self._judge_trust()]
        for each in self._facts:
            for chain in each.chains.values():
                held = self._held_elsewhere(each, chain)
                remarks += judge_chain(each.copy, chain, keep=self._trust.keep, now=self._now, lacks_of=held)
            remarks += self._compare(each)
        named = self._named()
        remarks += self._judge_heads(named)
        remarks += self._judge_back_dated()
        chains = tuple(self._verdict(chain, named) for chain in self._main_chains.values() if chain.numbers)
        remarks += [remark for chain in chains for remark in _judge_end(chain)]
        count = sum(len(chain.entries) for each in self._facts for chain in each.chains.values())
        return Verdict(chains, count, tuple(remarks))

    def _judge_presence(self) -> Iterator[Remark]:
        for each in self._facts:
            if each.silence is not None:
                yield Remark(Weight.BROKEN, "silent", f"it could not be read: {each.silence}", each.copy)
        held = {signer for each in self._facts for signer, chain in each.chains.items() if chain.numbers}
        if not held:
            text = "there is no entry in any chain: nothing was ever recorded, or all of it was removed"
            yield Remark(Weight.BROKEN, "empty", text)
        elif self._trust.is_configured:
            for signer in sorted(self._trust.keys.keys() - held):
                if self._trust.name(signer) != THIS_HOST:
                    text = f"{self._called(signer)} has no chain: it never recorded anything, or all of it was removed"
                    yield Remark(Weight.BROKEN, "no-chain", text, None, signer)

    def _judge_trust(self) -> Iterator[Remark]:
        for signer, chains in self._by_signer().items():
            keys = {seen.key for chain in chains for seen in chain.entries.values()}
            for key in sorted(keys, key=str):
                if self._trust.believes(key):
                    continue
                count = max(len(chain.entries) for chain in chains)
                if self._trust.is_configured:
                    text = f"{count} entries are signed by a key that audit.signers does not name: {key}"
                    yield Remark(Weight.BROKEN, "unknown-signer", text, None, signer)
                else:
                    text = f"not pinned: nothing says who signed the {count} entries of {signer}, by the key {key}"
                    yield Remark(Weight.WARNING, NOT_PINNED, text, None, signer)

    def _by_signer(self) -> dict[str, list[Chain]]:
        found: dict[str, list[Chain]] = {}
        for each in self._facts:
            for signer, chain in sorted(each.chains.items()):
                found.setdefault(signer, []).append(chain)
        return found

    def _held_elsewhere(self, each: CopyFacts, chain: Chain) -> set[int]:
        """Return what the deciding copy holds of a chain: that another lacks it is told by comparing."""
        if self._main is None or each is self._main:
            return set()
        return self._main.chains[chain.signer].numbers if chain.signer in self._main.chains else set()

    def _compare(self, each: CopyFacts) -> Iterator[Remark]:
        """Compare a further copy with the deciding one."""
        if self._main is None or each is self._main or each.silence is not None:
            return
        for signer in sorted(self._main.chains.keys() | each.chains.keys()):
            ours, theirs = self._main.chains.get(signer, Chain(signer)), each.chains.get(signer, Chain(signer))
            forked = [n for n in ours.entries.keys() & theirs.entries.keys() if _differ(ours, theirs, n)]
            if forked:
                text = f"a fork: {ranges(forked)} of {self._called(signer)}, otherwise in copy {self._main.copy!r}"
                yield Remark(Weight.BROKEN, "fork", text, each.copy, signer)
            begin = self._begins.get(signer, 0)
            gone = [n for n in theirs.numbers - ours.numbers if n >= begin]
            if gone:
                text = f"deleted: {ranges(gone)} of {self._called(signer)}, still held by copy {each.copy!r}"
                yield Remark(Weight.BROKEN, "deleted", text, self._main.copy, signer)
            lacking = [n for n in ours.entries.keys() - theirs.numbers if n >= begin]
            if lacking:
                yield self._lacking(each, signer, lacking)

    def _lacking(self, each: CopyFacts, signer: str, lacking: Sequence[int]) -> Remark:
        assert self._main is not None
        oldest = min(self._main.chains[signer].entries[n].at for n in lacking)
        is_late = self._now - oldest > each.lag
        weight = Weight.BROKEN if is_late else Weight.NOTE
        end = "should have come by now" if is_late else "may still come"
        text = f"missing: {ranges(lacking)} of {self._called(signer)}, the oldest of {_moment(oldest)}, {end}"
        return Remark(weight, "lacks", text, each.copy, signer)

    def _named(self) -> dict[tuple[str, int], dict[bytes, str]]:
        """Return what was named from outside of each chain: the hash by signer and number, and by whom."""
        found: dict[tuple[str, int], dict[bytes, str]] = {}
        for each in self._facts:
            for chain in each.chains.values():
                for number, seen in chain.entries.items():
                    if self._trust.is_configured and not self._trust.believes(seen.key):
                        continue  # whoever that is may name what never was
                    by = f"entry {number} of {self._called(chain.signer)}"
                    for signer, head in seen.heads.items():
                        found.setdefault((signer, head.number), {}).setdefault(head.sha256, by)
        for known in self._kept:
            found.setdefault((known.signer, known.head.number), {}).setdefault(known.head.sha256, known.source)
        return found

    def _judge_heads(self, named: Mapping[tuple[str, int], Mapping[bytes, str]]) -> Iterator[Remark]:
        if self._main is None:
            return
        copy = self._main.copy
        tails: dict[str, tuple[int, str]] = {}
        for (signer, number), hashes in sorted(named.items()):
            chain = self._main_chains.get(signer, Chain(signer))
            if number < self._begins.get(signer, 0):
                continue
            seen = chain.entries.get(number)
            if seen is None and number > max(chain.numbers, default=-1):
                tails[signer] = number, next(iter(hashes.values()))
            for digest, by in hashes.items():
                if seen is not None and seen.sha256 != digest:
                    text = f"entry {number} of {self._called(signer)} is not the one that {by} names"
                    yield Remark(Weight.BROKEN, "head", text, copy, signer)
        for signer, (number, by) in tails.items():
            last = max(self._main_chains[signer].numbers, default=-1) if signer in self._main_chains else -1
            ends = f"ends at entry {last}" if last >= 0 else "is gone"
            text = f"the chain of {self._called(signer)} {ends}, and {by} names its entry {number}: its end was cut"
            yield Remark(Weight.BROKEN, "tail-cut", text, copy, signer)

    def _judge_back_dated(self) -> Iterator[Remark]:
        """Find entries that name what is younger than they say they are."""
        copy = "" if self._main is None else self._main.copy
        for chain in self._main_chains.values():
            found = [
                number
                for number, seen in chain.entries.items()
                for signer, head in seen.heads.items()
                if (named := self._main_chains.get(signer, Chain(signer)).entries.get(head.number)) is not None
                and _is_younger(named, seen)
            ]
            if found:
                text = (
                    f"back-dated: {ranges(set(found))} of {self._called(chain.signer)}, naming younger ones of others"
                )
                yield Remark(Weight.WARNING, "back-dated", text, copy, chain.signer)

    def _verdict(self, chain: Chain, named: Mapping[tuple[str, int], Mapping[bytes, str]]) -> ChainVerdict:
        last = max(chain.numbers)
        seen = chain.entries.get(last)
        proven = [
            number
            for (signer, number), hashes in named.items()
            if signer == chain.signer and number in chain.entries and chain.entries[number].sha256 in hashes
        ]
        keys = {each.key for each in chain.entries.values()}
        return ChainVerdict(
            chain.signer,
            self._trust.name(chain.signer),
            ", ".join(sorted(map(str, keys))) or None,
            bool(keys) and all(map(self._trust.believes, keys)),
            min(chain.numbers),
            last,
            None if seen is None else seen.at,
            None if seen is None else seen.sha256,
            max(proven, default=None),
        )

    def _called(self, signer: str) -> str:
        return self._trust.name(signer)


def _judge_end(chain: ChainVerdict) -> Iterator[Remark]:
    """Say how far the end of a chain is known to be its end."""
    if chain.proven_to == chain.last:
        return
    start = chain.first if chain.proven_to is None else chain.proven_to + 1
    names = "no other chain and nothing kept outside names"
    text = (
        f"the tail of {chain.name} is not provable: {names} {spans([range(start, chain.last + 1)])}, or what followed"
    )
    yield Remark(Weight.NOTE, "tail", text, None, chain.signer)


def _is_younger(one: Seen, than: Seen) -> bool:
    """By the clock of the store, where both say what that showed: hosts' own are off, which is told apart."""
    return one.store_at is not None and than.store_at is not None and one.store_at - than.store_at > CLOCK_SLACK


def _differ(ours: Chain, theirs: Chain, number: int) -> bool:
    return ours.entries[number].sha256 != theirs.entries[number].sha256


def _moment(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")
