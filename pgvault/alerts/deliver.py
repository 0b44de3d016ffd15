"""Tell several receivers at once: each for itself, so that a dead one keeps nobody waiting, and none for ever."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from pgvault.alerts.message import Voice, rank
from pgvault.alerts.plan import Sending
from pgvault.alerts.receivers import Parcel, Receiver
from pgvault.errors import PgvaultError, StoreUnreachable
from pgvault.stores.retry import Overdue, Patience, within

logger = logging.getLogger(__name__)

# A parcel is tried again for this long; a receiver that takes one after the other may take all of the limit.
PATIENCE = Patience(deadline_seconds=15.0, first_wait_seconds=0.5, longest_wait_seconds=5.0)
LIMIT_SECONDS = 50.0


@dataclass(slots=True)
class Delivery:
    """How telling one receiver went."""

    receiver: str
    told: list[Sending] = field(default_factory=list)
    error: PgvaultError | None = None  # why the rest was not told


def deliver(
    sendings: Sequence[Sending],
    receivers: Mapping[str, Receiver],
    voice: Voice,
    *,
    patience: Patience = PATIENCE,
    limit_seconds: float = LIMIT_SECONDS,
) -> tuple[Delivery, ...]:
    """Tell everybody; return how that went, for each receiver that there was something for."""
    wanted: dict[str, list[Sending]] = {}
    for sending in sendings:
        wanted.setdefault(sending.receiver, []).append(sending)
    if not wanted:
        return ()

    def tell(name: str) -> Delivery:
        told: list[Sending] = []
        try:
            within(limit_seconds, lambda: _tell(receivers[name], wanted[name], voice, patience, told))
        except Overdue:
            return Delivery(name, list(told), StoreUnreachable(f"did not take all within {limit_seconds:.0f} s"))
        except PgvaultError as error:
            logger.info("receiver %r was not told: %s", name, error)
            return Delivery(name, told, error)
        except Exception as error:  # noqa: BLE001 - what one receiver trips over must not keep the others waiting
            # Not its text, which may quote a secret, as that of a password that is not ASCII does.
            return Delivery(name, told, StoreUnreachable(f"can not be told: {type(error).__name__}"))
        return Delivery(name, told)

    with ThreadPoolExecutor(len(wanted)) as threads:
        return tuple(threads.map(tell, wanted))


def _tell(
    receiver: Receiver, sendings: Sequence[Sending], voice: Voice, patience: Patience, told: list[Sending]
) -> None:
    """Tell one receiver, parcel after parcel; what was told goes into `told`. Raises what the first one failed at.

    One that is refused for good keeps none behind it; one that was tried in vain ends it, the receiver is down.
    """
    refused: list[PgvaultError] = []

    def attempt(parcel: Parcel) -> None:
        try:
            receiver.send(parcel, voice)
        except PgvaultError as error:
            refused.append(error)
        else:
            told.extend(parcel)

    for parcel in receiver.parcels(sorted(sendings, key=lambda each: rank(each)[:2])):
        patience.persist(partial(attempt, parcel))
    if refused:
        raise refused[0]
