"""`pgvault expire`: mark what retention does not want, remove what was marked long enough ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.auditcut import cut_audit, cut_document, cut_lines
from pgvault.cli.auditing import Need, book_of, recording
from pgvault.cli.expirerender import recorded_report, report_document, report_lines
from pgvault.cli.holds import make_order
from pgvault.cli.opening import OpenedCluster, name_cluster, open_from
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.reading import impatient
from pgvault.config import Config
from pgvault.errors import PgvaultError, UsageError
from pgvault.expire.actions import ExpireRequest
from pgvault.expire.apply import Policed, expire_cluster, plan_only
from pgvault.expire.carrying import Report
from pgvault.expire.cold import ColdRule
from pgvault.expire.policy import Policy

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AbandonOption = Annotated[
    list[str] | None,
    typer.Option("--abandon", metavar="COPY", help="Go on without a copy that never comes back. May be repeated."),
]


@dataclass(frozen=True, slots=True)
class Ended:
    """How one cluster's expiry ended: with a report, which may tell of problems, or with an error."""

    cluster: str
    report: Report | None
    error: PgvaultError | None


def expire(
    ctx: typer.Context,
    dry_run: DryRunOption = False,
    every: Annotated[bool, typer.Option("--all", help="Every cluster of the configuration.")] = False,
    abandon: AbandonOption = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark what retention does not want any more, and remove what was marked when its grace is over.

    Example: pgvault expire --dry-run
    """
    if every and cluster is not None:
        raise UsageError("--all and --cluster are two things")
    source = source_of(ctx, config)
    loaded = source.load()
    repository = open_from(loaded, elsewhere=impatient(None))
    names = list(loaded.clusters) if every else [cluster]
    request = ExpireRequest(abandoned=frozenset(abandon or ()))
    cold = cold_rules(loaded)
    found = (name_cluster(source, loaded, repository, name) for name in names)
    ended = [attempt(each, request, is_dry=dry_run, cold=cold) for each in found]
    cut = cut_audit(loaded, repository, is_dry=dry_run)
    if as_json:
        clusters = [_document(each) for each in ended]
        render.write_json({"dry_run": dry_run, "clusters": clusters, "audit": cut_document(cut)})
    else:
        is_asked = dry_run or any(each.error is not None or _notes(each) for each in ended)
        write = render.write_lines if is_asked else render.write_success
        for each in ended:
            write([] if each.report is None else report_lines(each.report, is_dry=dry_run))
        write(cut_lines(cut, is_dry=dry_run))
    raise_first(ended)
    if cut is not None:
        cut.require_done()


def _notes(ended: Ended) -> tuple[str, ...]:
    """Return what is worth a mail, though it went well: what happened, not what the plan says every day anew."""
    return () if ended.report is None else tuple(ended.report.notes)


def cold_rules(config: Config) -> dict[str, ColdRule]:
    """Return which copies move what is old to another class of storage."""
    return {
        name: ColdRule(copy.archive_after, copy.archive_class)
        for name, copy in config.repository.copies.items()
        if copy.archive_after is not None
    }


def attempt(
    found: OpenedCluster,
    request: ExpireRequest,
    *,
    is_dry: bool,
    why: str = "",
    cold: Mapping[str, ColdRule] | None = None,
) -> Ended:
    """Plan, and unless it is dry carry out, what is asked of one cluster; an error is that cluster's alone."""
    report: Report | None = None
    try:
        policy = Policy.of(found.config, time_zone=found.time_zone)
        wanted = Policed(found.name, policy, make_order("").by, request, why, cold or {})
        if is_dry:
            report = plan_only(found.repository, wanted)
            report.require_done()
            return Ended(found.name, report, None)
        asked = {"labels": list(request.delete), "abandoned": sorted(request.abandoned), "why": why}
        what = "delete" if request.delete else "expire"
        with recording(book_of(found), what, need=Need.REQUIRED, asked=asked) as event:
            report = expire_cluster(found.repository, wanted)
            event.details |= recorded_report(report)
            report.require_done()
    except PgvaultError as error:
        return Ended(found.name, report, error)
    return Ended(found.name, report, None)


def raise_first(ended: list[Ended]) -> None:
    """Raise what went wrong with the first cluster that anything did; the others are named."""
    wrong = [(each.cluster, each.error) for each in ended if each.error is not None]
    if not wrong:
        return
    _, first = wrong[0]
    if len(ended) == 1:
        raise first
    raise type(first)("; ".join(f"cluster {name!r}: {error}" for name, error in wrong), hint=first.hint)


def _document(ended: Ended) -> dict[str, Any]:
    document: dict[str, Any] = {"cluster": ended.cluster}
    if ended.report is not None:
        document |= report_document(ended.report)
    return document | {"error": None if ended.error is None else str(ended.error)}
