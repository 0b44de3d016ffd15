"""Judge one chain in one copy, by itself: pure, from what was read there (`facts`).

Every entry opens and stands where it says, none is missing, each names the hash of the one before. A chain may begin
behind its entry 0 only where a later checkpoint of the same key names that number and the hash of what was cut, and
where that was as old as the verifier says: a stolen key cuts no more. Of what lies before, some may still be there: an
object lock ends when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from pgvault.audit.facts import Chain, Cut, Seen
from pgvault.audit.remark import Remark, Weight, holes, ranges, spans
from pgvault.instants import iso

CLOCK_SLACK = timedelta(seconds=60)


def judge_chain(
    copy: str, chain: Chain, *, keep: timedelta | None, now: datetime, lacks_of: AbstractSet[int] = frozenset()
) -> Iterator[Remark]:
    """Judge one chain in one copy, of which nothing younger than `keep` is cut, and without it nothing.

    Of `lacks_of` nothing is said that is missing.
    """
    signer = chain.signer
    for name in chain.strange:
        yield Remark(Weight.WARNING, "strange", f"{name!r} is no entry", copy, signer)
    for _, why in sorted(chain.damaged.items()):
        yield Remark(Weight.BROKEN, "damaged", why, copy, signer)
    begin = begin_of(chain)
    yield from _judge_checkpoints(copy, chain, begin)
    yield from _judge_cut(copy, chain, begin, keep, now)
    yield from _judge_holes(copy, chain, begin, lacks_of)
    yield from _judge_links(copy, chain)
    yield from _judge_clocks(copy, chain)


def begin_of(chain: Chain) -> int:
    """Return the number from which on a chain must be whole: 0, or what a checkpoint of its own names rightly."""
    return max((cut.first for _, cut in _checkpoints(chain) if _is_right(chain, cut)), default=0)


def _checkpoints(chain: Chain) -> Iterator[tuple[int, Cut]]:
    for number, seen in sorted(chain.entries.items()):
        if seen.cut is not None:
            yield number, seen.cut


def _is_right(chain: Chain, cut: Cut) -> bool:
    """Whether the first entry that stays follows what the checkpoint calls the last that went."""
    seen = chain.entries.get(cut.first)
    return seen is not None and seen.previous == cut.sha256


def _judge_checkpoints(copy: str, chain: Chain, begin: int) -> Iterator[Remark]:
    for number, cut in _checkpoints(chain):
        if cut.first >= begin and not _is_right(chain, cut):
            text = f"checkpoint {number} of {chain.signer} names another entry before {cut.first} than the chain does"
            yield Remark(Weight.BROKEN, "checkpoint", text, copy, chain.signer)
    if begin:
        left = sorted(number for number in chain.numbers if number < begin)
        also = f"; of these {ranges(left)} are still there" if left else ""
        text = f"entries 0 to {begin - 1} of {chain.signer} were cut, as a later checkpoint of its key says{also}"
        yield Remark(Weight.NOTE, "cut", text, copy, chain.signer)


def _judge_cut(copy: str, chain: Chain, begin: int, keep: timedelta | None, now: datetime) -> Iterator[Remark]:
    """Find that more was cut than the verifier's own configuration lets go."""
    found = [(number, cut) for number, cut in _checkpoints(chain) if cut.first == begin and _is_right(chain, cut)]
    if not found:
        return
    number, cut = found[0]
    seen, first = chain.entries[number], chain.entries[begin]
    if keep is None:
        why: str | None = f"of {iso(cut.at)}, and no audit_keep is configured here: nothing is ever cut"
    else:
        said_at = min(at for at in (seen.at, seen.store_at, now) if at is not None)
        why = cut.why_not(said_at=said_at, first_at=first.at, keep=keep)
    if why is not None:
        text = f"checkpoint {number} of {chain.signer} cut what may not be cut: entry {begin - 1}, {why}"
        yield Remark(Weight.BROKEN, "cut-young", text, copy, chain.signer)


def _judge_holes(copy: str, chain: Chain, begin: int, lacks_of: AbstractSet[int]) -> Iterator[Remark]:
    first = min((number for number in chain.numbers if number >= begin), default=begin)
    last = max(chain.numbers, default=-1)
    missing = holes(chain.numbers | {number for number in lacks_of if number < last}, begin=begin)
    cut = [part for part in missing if part.start < first]
    if cut:
        text = f"the chain of {chain.signer} begins at entry {first}, and no checkpoint says so; cut: {spans(cut)}"
        yield Remark(Weight.BROKEN, "beginning", text, copy, chain.signer)
    inside = [part for part in missing if part.start > first]
    if inside:
        text = f"deleted: {spans(inside)} of {chain.signer}; later ones are there"
        yield Remark(Weight.BROKEN, "hole", text, copy, chain.signer)


def _judge_links(copy: str, chain: Chain) -> Iterator[Remark]:
    for number, seen in sorted(chain.entries.items()):
        before = chain.entries.get(number - 1)
        if number == 0:
            text = "names an entry before it, and is the first" if seen.previous is not None else ""
        elif seen.previous is None:
            text = f"names none before it: entry {number - 1} did not open when it was written"
        elif before is not None and seen.previous != before.sha256:
            text = f"does not follow entry {number - 1}: that was changed, or put there later"
        else:
            continue
        if text:
            yield Remark(Weight.BROKEN, "order", f"entry {number} of {chain.signer} {text}", copy, chain.signer)


def _judge_clocks(copy: str, chain: Chain) -> Iterator[Remark]:
    """Find times that go backwards, and a host whose clock is not the store's; one remark for each."""
    latest: Seen | None = None
    back: list[int] = []
    off: dict[int, timedelta] = {}
    for number, seen in sorted(chain.entries.items()):
        if latest is not None and latest.at - seen.at > CLOCK_SLACK:
            back.append(number)
        if latest is None or seen.at > latest.at:
            latest = seen
        if seen.store_at is not None and abs(seen.at - seen.store_at) > CLOCK_SLACK:
            off[number] = seen.at - seen.store_at
    if back:
        text = f"clock: the times of {chain.signer} go backwards by more than a minute at {ranges(back)}"
        yield Remark(Weight.WARNING, "clock", text, copy, chain.signer)
    if off:
        worst = max(off, key=lambda number: abs(off[number]))
        seconds = off[worst].total_seconds()
        text = (
            f"clock: {len(off)} entries of {chain.signer} were written while its clock was not the store's, "
            f"entry {worst} by {seconds:+.0f} s"
        )
        yield Remark(Weight.WARNING, "clock", text, copy, chain.signer)
