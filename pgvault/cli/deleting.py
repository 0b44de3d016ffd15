"""`pgvault delete` and `undelete`: mark backups by name, and take that back as long as nothing was removed."""

from __future__ import annotations

from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.auditing import book_of, recording
from pgvault.cli.completing import complete_label
from pgvault.cli.expire import DryRunOption, attempt, raise_first
from pgvault.cli.expirerender import report_document, report_lines
from pgvault.cli.holds import TimezoneOption, WhyOption, make_order
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, opened
from pgvault.errors import Refused, UsageError
from pgvault.expire.actions import ExpireRequest
from pgvault.expire.policy import Policy
from pgvault.instants import SystemClock, parse_instant
from pgvault.repository.catalog import read_catalog
from pgvault.repository.tombstones import take_back


def delete(
    ctx: typer.Context,
    labels: Annotated[
        list[str],
        typer.Argument(
            metavar="LABEL...", help="The backups, as `pgvault list` prints them.", autocompletion=complete_label
        ),
    ],
    confirm: Annotated[
        list[str] | None,
        typer.Option(
            "--confirm", metavar="LABEL", help="The same labels again, each of them.", autocompletion=complete_label
        ),
    ] = None,
    shrink_window_to: Annotated[
        str | None,
        typer.Option("--shrink-window-to", metavar="T", help="Where the window will begin, as --dry-run printed it."),
    ] = None,
    why: WhyOption = "",
    dry_run: DryRunOption = False,
    timezone: TimezoneOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark backups as to be removed. Until the grace is over they are whole, and `undelete` brings them back.

    Example: pgvault delete 20260115T103000Z-f7c2 --confirm 20260115T103000Z-f7c2
    """
    if not dry_run and sorted(set(labels)) != sorted(set(confirm or ())):
        raise Refused(
            f"not deleted: {', '.join(labels)} is not what --confirm says",
            hint="Say --confirm LABEL for each of them, or look first: --dry-run",
        )
    found = opened(ctx, config, cluster)
    now = SystemClock().now()
    shrunk = None
    if shrink_window_to is not None:
        shrunk = parse_instant(shrink_window_to, zone=timezone or found.time_zone, now=now)
    ended = attempt(found, ExpireRequest(delete=tuple(labels), shrink_window_to=shrunk), is_dry=dry_run, why=why)
    if ended.report is not None and as_json:
        render.write_json({"dry_run": dry_run, "cluster": found.name, **report_document(ended.report)})
    elif ended.report is not None:
        render.write_lines(report_lines(ended.report, is_dry=dry_run))
        if not dry_run:
            grace = render.duration(Policy.of(found.config, time_zone=found.time_zone).grace)
            render.write_lines([f"removed by the first pgvault expire in {grace}; until then: pgvault undelete LABEL"])
    raise_first([ended])


def undelete(
    ctx: typer.Context,
    label: Annotated[
        str, typer.Argument(help="The backup, as `pgvault list` prints it.", autocompletion=complete_label)
    ],
    why: WhyOption = "",
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a backup stay that was marked, by `delete` or by `expire`.

    Example: pgvault undelete 20260115T103000Z-f7c2
    """
    found = opened(ctx, config, cluster)
    with recording(book_of(found), "undelete", asked={"label": label, "why": why}):
        was_marked = take_back(found.repository, found.name, label, make_order(why))
        read_catalog(found.repository, found.name).find_any(label)
    if not was_marked:
        raise UsageError(f"backup {label!r} is not marked as to be removed", hint="See: pgvault list")
    if as_json:
        render.write_json({"cluster": found.name, "label": label, "stays": True})
    else:
        hint = "what retention does not want, the next pgvault expire marks again: pgvault hold keeps it"
        render.write_lines([f"backup {label} stays; {hint}"])
