"""`pgvault hold`, `release` and `holds`: what must stay, whatever retention says."""

from __future__ import annotations

import getpass
import logging
import os
import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.auditing import Need, book_of, recording
from pgvault.cli.completing import complete_label
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, opened
from pgvault.errors import Refused, UsageError
from pgvault.instants import SystemClock, iso, parse_instant
from pgvault.recovery.systemwindow import read_windows
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.holds import Hold, put_hold, read_holds, release_hold
from pgvault.repository.tombstones import Order, State, read_tombstones

logger = logging.getLogger(__name__)

WhyOption = Annotated[str, typer.Option("--why", help="A reason, for whoever wonders later.")]
TimezoneOption = Annotated[str | None, typer.Option("--timezone", help="In which times without an offset are read.")]


def hold(
    ctx: typer.Context,
    label: Annotated[
        str | None, typer.Argument(help="The backup that must stay.", autocompletion=complete_label)
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Any moment from here …")] = None,
    end: Annotated[str | None, typer.Option("--to", help="… to here must stay restorable.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="When the hold ends by itself.")] = None,
    why: WhyOption = "",
    timezone: TimezoneOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a backup, or all that is needed to reach any moment between two, until it is released.

    Example: pgvault hold --from 2025-10-25T09:00 --to 2025-10-25T12:00 --why "case 42"
    """
    found = opened(ctx, config, cluster)
    order, zone = make_order(why), timezone or found.time_zone

    def at(text: str | None) -> datetime | None:
        return None if text is None else parse_instant(text, zone=zone, now=order.at)

    if label is None and start is None:
        raise UsageError("a hold of what?", hint="Name a backup's label, or --from and --to.")
    chosen = Hold(layout.make_label(order.at, os.urandom(2)), label, at(start), at(end), at(until), order)
    with recording(book_of(found), "hold", asked=hold_document(chosen)):
        set_hold(found, chosen)
    if as_json:
        render.write_json(hold_document(chosen))
    else:
        render.write_lines([_line(chosen)])


def release(
    ctx: typer.Context,
    hold_id: Annotated[str, typer.Argument(help="The hold, as `pgvault holds` prints it.")],
    why: WhyOption = "",
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a hold: retention decides again.

    Example: pgvault release 20260115T103000Z-f7c2
    """
    found = opened(ctx, config, cluster)
    with recording(book_of(found), "release", need=Need.REQUIRED, asked={"id": hold_id, "why": why}) as event:
        released = release_hold(found.repository, found.name, hold_id, make_order(why))
        event.details["hold"] = hold_document(released)
    if as_json:
        render.write_json(hold_document(released))
    else:
        render.write_lines([f"released: {_line(released)}"])


def holds(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is held, since when, by whom and why.

    Example: pgvault holds
    """
    found = opened(ctx, config, cluster)
    held = read_holds(found.repository, found.name)
    if as_json:
        render.write_json({"cluster": found.name, "holds": [hold_document(each) for each in held]})
    else:
        now = SystemClock().now()
        over = ("", " (over)")
        render.write_lines([_line(each) + over[not each.counts_at(now)] for each in held] or ["nothing is held"])


def set_hold(found: OpenedCluster, chosen: Hold) -> None:
    """Store a hold, then see whether what it is of is still there: expire looks for holds after it has announced.

    Raises ObjectMissing for a backup that is none, Refused where its removal has begun.
    """
    catalog = read_catalog(found.repository, found.name)
    if chosen.label is not None:
        catalog.find_any(chosen.label)
    put_hold(found.repository, found.name, chosen)
    if chosen.starts_at is not None:
        _warn_of_what_is_gone(found, catalog, chosen.starts_at)
    marked = read_tombstones(found.repository, found.name, [root.label for root in catalog.roots])
    begun = [label for label, tombstone in marked.items() if tombstone.state is State.BEGUN]
    if chosen.label in begun:
        raise Refused(
            f"backup {chosen.label!r} is being removed at this moment; hold {chosen.id} is set all the same",
            hint="If pgvault list shows it in a while, and not as expiring, the hold came in time.",
        )
    if chosen.label is None and begun:
        logger.warning("being removed at this moment, whether held or not: %s", ", ".join(begun))


def _warn_of_what_is_gone(found: OpenedCluster, catalog: Catalog, starts_at: datetime) -> None:
    """Say which moments the hold can not keep, since nothing leads to them: it would pass for evidence that is safe."""
    systems = read_windows(
        found.repository,
        found.name,
        catalog.backups,
        passed_over=lambda name, error: logger.warning("%s does not open: %s", name, error),
    )
    begins = [each.starts_at for system in systems for each in system.window.ranges]
    if not begins:
        logger.warning("no moment can be restored now: the hold keeps only what comes")
    elif starts_at < min(begins):
        logger.warning("no moment before %s can be restored, held or not", iso(min(begins)))


def make_order(why: str) -> Order:
    """Return who gives it: this user, on this host, now."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return Order(SystemClock().now(), f"{user}@{socket.gethostname()}", why)


def hold_document(held: Hold) -> dict[str, Any]:
    """One hold, as `hold`, `holds` and `list` print it."""
    return {
        "id": held.id,
        "label": held.label,
        "from": _iso(held.starts_at),
        "to": _iso(held.ends_at),
        "until": _iso(held.until),
        "why": held.order.why,
        "by": held.order.by,
        "at": iso(held.order.at),
    }


def hold_lines(held: Sequence[Hold], now: datetime) -> list[str]:
    """The holds that count, a line each."""
    return [f"hold: {_line(each)}" for each in held if each.counts_at(now)]


def _line(held: Hold) -> str:
    if held.starts_at is not None and held.ends_at is not None:
        what = f"{render.instant(held.starts_at)} to {render.instant(held.ends_at)}"
    else:
        what = f"backup {held.label}"
    until = "" if held.until is None else f", until {render.instant(held.until)}"
    why = f": {render.printable(held.order.why)}" if held.order.why else ""
    return f"{held.id}  {what}{until}, by {render.printable(held.order.by)}{why}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else iso(at)
