"""`pgvault drills`: the reports of earlier drills, and how `list` and `show` tell when a backup was proven."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.audit.receipt import DOCUMENT, SIGNATURE, SIGNER, VERIFY, find_receipt, is_of_report, write_receipt
from pgvault.checks.result import NOT_BLOCKING
from pgvault.cli import render
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.options import (
    ClusterOption,
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    OnlyCopyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_read
from pgvault.errors import ObjectMissing, UsageError
from pgvault.instants import iso
from pgvault.monitor.finding import span
from pgvault.repository.drilled import Drilled, Outcome
from pgvault.repository.drillreports import read_report, read_reports, report_ids

NEVER = "-"
LIST_COLUMNS = ("drill", "", "RTO", "RPO at most", "target", "backup")
SHOWN = 20
WORDS = {Outcome.PASSED: "proven", Outcome.MISSED: "proven late", Outcome.FAILED: "FAILED"}


def drills(
    ctx: typer.Context,
    drill_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show this one's report; else list the newest.")
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option("--receipt", metavar="DIR", help="Write the drill's receipt there, for anybody with openssl."),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many to list.")] = SHOWN,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    only_copy: OnlyCopyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the drills, newest first, or show one's report.

    Example: pgvault drills 20260117T050000Z-9c41

    Example: pgvault drills 20260117T050000Z-9c41 --receipt /srv/audit/january
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_read(source, cluster, only_copy=only_copy)
    if drill_id is None and receipt is not None:
        raise UsageError("a receipt of which drill?", hint="Name its id: pgvault drills ID --receipt DIR")
    if drill_id is not None and receipt is not None:
        _give_receipt(opened, drill_id, receipt, as_json=as_json)
        return
    if drill_id is not None:
        report = read_report(opened.repository, opened.name, drill_id)
        if as_json:
            render.write_json(report)
        else:
            _write_report(report)
        return
    ids = report_ids(opened.repository, opened.name)
    reports = list(read_reports(opened.repository, opened.name, ids[:last]))
    if as_json:
        render.write_json({"cluster": opened.name, "count": len(ids), "drills": reports})
    else:
        _write_reports(opened.name, reports, more=len(ids) - last)


def _give_receipt(opened: OpenedCluster, drill_id: str, directory: Path, *, as_json: bool) -> None:
    """Write the receipt of a drill, and say by whose key it is."""
    report = read_report(opened.repository, opened.name, drill_id)
    entry = find_receipt(opened.repository, report, believed=opened.audit.signers.values())
    if entry is None:
        raise ObjectMissing(
            f"drill {drill_id!r} has no receipt: no audit entry holds its report",
            hint="It ran where nothing could be recorded, before there were receipts, or the entry is gone: "
            "pgvault audit verify",
        )
    write_receipt(entry, directory)
    name = next((name for name, key in opened.audit.signers.items() if key == str(entry.key)), None)
    is_same = is_of_report(entry, report)
    if not is_same:
        render.write_warning("the stored report is not what was signed", "Somebody changed it; the receipt counts.")
    if as_json:
        render.write_json(
            {
                "drill": drill_id,
                "directory": str(directory),
                "signer": entry.signer,
                "number": entry.place.number,
                "public_key": str(entry.key),
                "known_as": name,
                "same_as_report": is_same,
                "verify": VERIFY,
            }
        )
        return
    known = f"known here as {name}" if name is not None else "not among audit.signers of this configuration"
    render.write_lines(
        [
            f"receipt of drill {drill_id}: {directory}/{DOCUMENT}, {SIGNATURE}, {SIGNER}",
            f"entry {entry.place.number} of chain {entry.signer}, signed by {entry.key}, {known}",
            f"verify it: cd {shlex.quote(str(directory))} && {VERIFY}",
        ]
    )


def proof_words(marks: Sequence[Drilled], now: datetime) -> str:
    """Return when a backup was last drilled, and how that ended; a failure does not hide an older proof."""
    if not marks:
        return NEVER
    said = [_ago(marks[0], now)]
    said += [_ago(mark, now) for mark in marks[1:] if mark.outcome.is_proof][:1]
    return ", ".join(said)


def mark_document(mark: Drilled) -> dict[str, Any]:
    """One mark, for machines."""
    return {
        "label": mark.label,
        "drill": mark.drill_id,
        "at": iso(mark.at),
        "outcome": str(mark.outcome),
        "passed": mark.outcome is Outcome.PASSED,
        "proven": mark.outcome.is_proof,
        "target": mark.target,
        "as_of": None if mark.as_of is None else iso(mark.as_of),
        "lsn": None if mark.lsn is None else str(mark.lsn),
        "timeline": mark.timeline,
        "copies": list(mark.copies),
        "rto_seconds": mark.rto_seconds,
        "rpo_seconds": mark.rpo_seconds,
    }


def mark_lines(marks: Sequence[Drilled]) -> Iterator[str]:
    """Yield a line for each drill of a backup."""
    for mark in marks:
        where = "" if mark.as_of is None else f", as of {render.instant(mark.as_of)}"
        rto = "" if mark.rto_seconds is None else f", RTO {render.duration(mark.rto_seconds)}"
        copies = f", from {', '.join(mark.copies)}"
        yield f"drilled {render.instant(mark.at)}: {mark.outcome} ({mark.drill_id}; {mark.target}{where}{rto}{copies})"


def _ago(mark: Drilled, now: datetime) -> str:
    return f"{WORDS[mark.outcome]} {span(max(timedelta(0), now - mark.at))} ago"


def _write_reports(cluster: str, reports: Sequence[Mapping[str, Any]], *, more: int) -> None:
    if not reports:
        render.write_lines([f"cluster {cluster} was never drilled"])
        return
    rows = [
        (
            str(report.get("id")),
            outcome_of(report),
            _seconds(report.get("rto_seconds")),
            _seconds(report.get("rpo_seconds")),
            short_target(str(report.get("target"))),
            str(report.get("backup") or NEVER),
        )
        for report in reports
    ]
    render.write_table(f"drills of {cluster}", LIST_COLUMNS, rows)
    # Below the table, since a column of sentences leaves no room for the others on a terminal.
    render.write_lines(
        [f"{report.get('id')}: {render.printable(str(report['error']))}" for report in reports if report.get("error")]
    )
    if more > 0:
        render.write_lines([f"and {more} older ones: --last"])


def _write_report(report: Mapping[str, Any]) -> None:
    rows = [
        (
            render.mark(_verdict(check), is_blocking=check.get("severity") not in NOT_BLOCKING),
            str(check.get("name")),
            str(check.get("severity")),
            render.printable(str(check.get("detail"))),
        )
        for check in report.get("checks", ())
    ]
    if rows:
        title = f"drill {report.get('id')} of backup {report.get('backup')}: {outcome_of(report)}"
        render.write_table(title, ("", "check", "severity", "found"), rows)
    lines = [
        f"{check.get('name')}: {render.printable(str(row))}"
        for check in report.get("checks", ())
        for row in check.get("sample", ())
    ]
    lines += [
        f"{name.replace('_', ' ')}: {report[name]}"
        for name in ("started_at", "target", "as_of", "isolation")
        if report.get(name)
    ]
    lines.append("phases: " + ", ".join(f"{name} {render.duration(s)}" for name, s in report.get("phases", {}).items()))
    for name, word in (("notes", "note"), ("warnings", "warning"), ("not_tested", "not tested")):
        lines += [f"{word}: {render.printable(str(each))}" for each in report.get(name, ())]
    error = f" · {render.printable(str(report['error']))}" if report.get("error") else ""
    figures = f"RTO {_seconds(report.get('rto_seconds'))} · RPO at most {_seconds(report.get('rpo_seconds'))}"
    render.write_lines([*lines, f"{outcome_of(report)}{error} · {figures}"])


def short_target(target: str) -> str:
    """What a drill was asked for, in few words: which moment was drawn, and from what, its report says."""
    return render.printable(re.split(r": |, | \(", target, maxsplit=1)[0])


def outcome_of(report: Mapping[str, Any]) -> str:
    """Return how a drill ended; an older pgvault said only whether it passed."""
    said = report.get("outcome") or (
        Outcome.NOT_RUN
        if not report.get("could_run", True)
        else Outcome.PASSED
        if report.get("passed")
        else Outcome.FAILED
    )
    return str(said) if said == Outcome.PASSED else str(said).upper()


def _verdict(check: Mapping[str, Any]) -> str:
    return str(check.get("verdict") or ("passed" if check.get("passed") else "failed"))


def _seconds(value: object) -> str:
    return render.duration(value) if isinstance(value, int | float) else "?"
