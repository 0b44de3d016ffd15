"""`check`, of the keys: what each WAL segment pays for them, and what happens when KMS is away.

Pure: from which slots there are, where the copies lie and how WAL gets there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pgvault.keyring.documents import SlotSummary
from pgvault.monitor.tried import Finding
from pgvault.repository.keys import AWS_KMS, PASSPHRASE
from pgvault.repository.kms import region_of

RAW_INSTEAD = (
    "Give the archiver a raw key: pgvault init --generate-key FILE is for a new repository; here write 32 random bytes "
    "as hex to a file (mode 0400), pgvault key add --key file:FILE, and name it in the configuration."
)
PRICES = {
    PASSPHRASE: "each pgvault wal push pays for scrypt: 0.3 s of a processor and 128 MiB, before it stores anything",
    AWS_KMS: "each pgvault wal push asks KMS first: a request to pay for, and no archiving while KMS does not answer",
}
ESCROW = "Make a sheet for the day that KMS, the account or its region is gone: pgvault key export --out FILE --yes"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the findings are made of."""

    configured: str  # kind of the configured credential
    is_pushed: bool  # WAL comes by archive_command: a process for each segment
    slots: Sequence[SlotSummary]  # of the newest key document
    active: int  # id of the key that seals
    regions: Mapping[str, str | None]  # of each copy, by name; None: no region of a cloud


def check_keys(facts: KeyFacts) -> Iterator[Finding]:
    """Yield a finding of what the key costs, and one of what opens the repository."""
    price = PRICES.get(facts.configured)
    if facts.is_pushed and price is not None:
        yield Finding("key", price, warning=RAW_INSTEAD)
    opening = [slot for slot in facts.slots if facts.active in slot.key_ids]
    detail = f"repository key {facts.active} opens by {', '.join(f'{s.name} ({s.kind})' for s in opening)}"
    elsewhere = _out_of_reach(facts, opening)
    if elsewhere:
        yield Finding("key slots", f"{detail}: without KMS there, {elsewhere} can not be read", warning=ESCROW)
    else:
        yield Finding("key slots", detail)


def _out_of_reach(facts: KeyFacts, opening: Sequence[SlotSummary]) -> str:
    """Name the copies that lie outside every region whose KMS opens the repository, where nothing else opens it."""
    if not opening or any(slot.kind != AWS_KMS for slot in opening):
        return ""
    regions = {region_of(slot.detail) for slot in opening}
    names = [name for name, region in facts.regions.items() if region not in regions]
    return " and ".join(f"copy {name}" for name in names)
