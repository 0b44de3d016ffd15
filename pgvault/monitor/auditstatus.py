"""Judge the audit chains at a glance: whose there are, how old the newest entry of each pinned key is, and its clock.

Two listings and one object for each pinned key. That the chains are whole is for `pgvault audit verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pgvault.audit.chain import UNREADABLE, entry_at, next_number, signers
from pgvault.audit.entry import Entry
from pgvault.audit.links import CLOCK_SLACK
from pgvault.audit.trust import Trust
from pgvault.errors import PgvaultError
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn
from pgvault.repository.repository import Repository

NAME = "audit"
CLOCK = "clock"
VERIFY = "See: pgvault audit verify"


def look_at_audit(repository: Repository, pins: Mapping[str, str], *, now: datetime) -> Iterator[Finding]:
    """Yield what there is to see; `pins` are the keys of `audit.signers`. Raises what reading a store raises."""
    trust = Trust.of(pins, None)
    found = signers(repository)
    newest: dict[str, Entry] = {}
    broken: dict[str, PgvaultError] = {}
    for signer in found if not trust.is_configured else trust.keys.keys() & set(found):
        try:
            if number := next_number(repository, signer):
                newest[signer] = entry_at(repository, signer, number - 1)
        except UNREADABLE as error:
            broken[signer] = error
    yield _judge(trust, found, newest, broken, now)
    yield from _judge_clocks(trust, newest)


def _judge(
    trust: Trust, found: list[str], newest: Mapping[str, Entry], broken: Mapping[str, PgvaultError], now: datetime
) -> Finding:
    last = max((entry.at for entry in newest.values()), default=None)
    unknown = [signer for signer in found if trust.is_configured and signer not in trust.keys]
    unknown += [signer for signer, entry in newest.items() if trust.is_configured and not trust.believes(entry.key)]
    absent = [trust.name(signer) for signer in trust.keys if signer not in newest and signer not in broken]
    figures: Figures = {
        "chains": len(found),
        "signers": len(trust.keys),
        "unknown_signers": len(unknown),
        "newest_at": None if last is None else iso(last),
        "newest_seconds": None if last is None else max(0.0, (now - last).total_seconds()),
    }
    if unknown:
        text = f"{len(unknown)} chains are signed by a key that audit.signers does not name: {', '.join(unknown)}"
        return red(
            NAME, text, figures, hint="If it is one of your hosts: pgvault audit key, there. Else look who wrote."
        )
    if broken:
        signer, error = next(iter(broken.items()))
        return red(NAME, f"the newest entry of {trust.name(signer)} does not open: {error}", figures, hint=VERIFY)
    if absent:
        text = f"{', '.join(absent)} has no chain: it never recorded anything, or all of it was removed"
        return red(NAME, text, figures, hint=VERIFY)
    if last is None:
        return warn(NAME, "there is no entry: nothing was ever recorded, or all of it was removed", figures)
    said = ", ".join(f"{trust.name(signer)} {span(now - entry.at)} ago" for signer, entry in sorted(newest.items()))
    if not trust.is_configured:
        return ok(
            NAME, f"{len(found)} chains, the last entry {span(now - last)} ago; not pinned: audit.signers", figures
        )
    return ok(NAME, f"last entries: {said}", figures)


def _judge_clocks(trust: Trust, newest: Mapping[str, Entry]) -> Iterator[Finding]:
    """Find hosts whose clock was not the store's when they wrote last."""
    for signer, entry in sorted(newest.items()):
        at = entry.place.store_at
        if at is not None and abs(entry.at - at) > CLOCK_SLACK:
            seconds = (entry.at - at).total_seconds()
            figures: Figures = {"signer": signer, "offset_seconds": seconds}
            text = f"the clock of {trust.name(signer)} was {span(abs(seconds))} off the store's at {iso(entry.at)}"
            yield warn(CLOCK, text, figures, hint="Times of backups, WAL and drills are that far off: see to its NTP.")
