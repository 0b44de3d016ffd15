"""Classes of storage: which can be read at once, and how long a thaw of the others takes.

    STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR     at once
    GLACIER ("Flexible Retrieval")                                         5 min · 5 h · 12 h
    DEEP_ARCHIVE                                                           12 h · 48 h

The times are the longest that Amazon names for the tiers Expedited, Standard and Bulk; other stores have others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

ThawTier = Literal["Expedited", "Standard", "Bulk"]

STANDARD = "STANDARD"
THAW_TIMES: dict[str, dict[ThawTier, timedelta]] = {
    "GLACIER": {"Expedited": timedelta(minutes=5), "Standard": timedelta(hours=5), "Bulk": timedelta(hours=12)},
    "DEEP_ARCHIVE": {"Standard": timedelta(hours=12), "Bulk": timedelta(hours=48)},
}
EXPIRY = re.compile(r'expiry-date="([^"]+)"')


@dataclass(frozen=True, slots=True)
class ObjectState:
    """Where an object lies, and whether it can be read."""

    storage_class: str
    is_readable: bool
    is_thawing: bool = False
    readable_until: datetime | None = None  # of a thawed one; the store's clock


def is_cold(storage_class: str | None) -> bool:
    """Whether objects of that class must be thawed before they can be read."""
    return storage_class in THAW_TIMES


def thaw_time(storage_class: str, tier: ThawTier = "Standard") -> timedelta:
    """Return how long a thaw may take; a tier that the class has not counts as Standard. Zero where none is needed."""
    times = THAW_TIMES.get(storage_class, {"Standard": timedelta(0)})
    return times.get(tier, times["Standard"])


def state_of(storage_class: str | None, restore: str | None) -> ObjectState:
    """Return the state that two headers of an object tell: its class, and how its restoration stands."""
    storage_class = storage_class or STANDARD
    if not is_cold(storage_class):
        return ObjectState(storage_class, is_readable=True)
    if restore is None:
        return ObjectState(storage_class, is_readable=False)
    if 'ongoing-request="false"' not in restore:
        return ObjectState(storage_class, is_readable=False, is_thawing=True)
    expiry = EXPIRY.search(restore)
    until = None if expiry is None else parsedate_to_datetime(expiry[1]).astimezone(UTC)
    return ObjectState(storage_class, is_readable=True, readable_until=until)


def thaw_hint(storage_class: str | None) -> str:
    """Say what to do about an object that can not be read where it lies."""
    times = THAW_TIMES.get(storage_class or "")
    if times is None:
        return "The object lies in cold storage: it must be thawed (restored by the store) first, which takes hours."
    longest = " or ".join(f"{time.total_seconds() / 3600:.2g} h ({tier})" for tier, time in times.items())
    return (
        f"The object lies in {storage_class}: it must be thawed (restored by the store) before it can be read, "
        f"which takes up to {longest}."
    )
