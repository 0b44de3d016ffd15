"""`pgvault verify`."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.auditing import Need, book_of, recording
from pgvault.cli.options import (
    ClusterOption,
    ConfigOption,
    EndpointOption,
    JsonOption,
    KeyOption,
    RegionOption,
    RepositoryOption,
    source_of,
)
from pgvault.cli.reading import open_cluster_to_verify
from pgvault.cli.repairs import repair_documents, repair_lines
from pgvault.cli.signals import leaving_in_order
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock, iso, parse_instant
from pgvault.repository.repository import Repository
from pgvault.verify.copies import CopyReport, Reports, Request, verify_copies
from pgvault.verify.repair import Repairs, repair_copies
from pgvault.verify.report import VerifyReport
from pgvault.verify.selection import Selection, parse_share

SEED_BITS = 32

CopyOption = Annotated[str | None, typer.Option("--copy", help="Only this copy; else each, by itself.")]
SampleOption = Annotated[
    str | None, typer.Option("--sample", metavar="SHARE", help="So much of packs and WAL, drawn by chance: 5%.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="With --sample: draw the same again.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Backups and WAL since then, and what never was verified.")
]
RepairOption = Annotated[
    bool, typer.Option("--repair", help="Bring what is damaged or missing from where it is whole, and read it back.")
]


def verify(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    copy: CopyOption = None,
    sample: SampleOption = None,
    seed: SeedOption = None,
    since: SinceOption = None,
    repair: RepairOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read back every object of every backup and the WAL between, in each copy by itself, and check all of it.

    Example: pgvault verify --cluster main --repair
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster_to_verify(source, cluster)
    selection = make_selection(sample, seed, since, zone=opened.time_zone)
    request = Request(opened.name, selection, opened.config.jobs, copy, keeps_marks=source.url is None)
    asked = {"repair": repair, "copy": copy, "sample": selection.share, "since": since}
    with recording(book_of(opened), "verify", need=Need.BEFORE if repair else Need.AFTER, asked=asked) as event:
        with leaving_in_order(PgvaultError.exit_code):
            reports, repairs = _run(opened.repository, request, is_repair=repair)
        event.details |= _recorded(reports, repairs)
        event.judge(reports.require_whole)
    if as_json:
        render.write_json({**_document(opened.name, reports, selection), "repairs": repair_documents(repairs)})
    else:
        is_plain = not any(each.report.problems or each.report.notes for each in reports.copies)
        write = render.write_success if is_plain and not any(each.healed for each in repairs) else render.write_lines
        write([line for each in reports.copies for line in _lines(each, selection)])
        write([line for each in repairs for line in repair_lines(each)])
    reports.require_whole()


def _run(repository: Repository, request: Request, *, is_repair: bool) -> tuple[Reports, tuple[Repairs, ...]]:
    with render.showing_progress() as progress:
        if is_repair:
            return repair_copies(repository, request, progress=progress, clock=SystemClock())
        return verify_copies(repository, request, progress=progress, clock=SystemClock()), ()


def _recorded(reports: Reports, repairs: tuple[Repairs, ...]) -> dict[str, Any]:
    """Return what of a run is kept on record: how much was read in which copy, what was wrong, what was repaired."""
    return {
        "copies": {
            each.copy: {
                "answered": each.silence is None,
                "backups": len(each.report.backups),
                "objects": each.report.object_count,
                "wal_segments": each.report.segment_count,
                "problems": len(each.report.problems),
                "first_problem": next((f"{p.what}: {p.error}" for p in each.report.problems), None),
            }
            for each in reports.copies
        },
        "repaired": {each.copy: len(each.healed) for each in repairs},
    }


def make_selection(sample: str | None, seed: int | None, since: str | None, *, zone: str) -> Selection:
    """Return what the options choose. Raises UsageError, TargetInvalid."""
    if seed is not None and sample is None:
        raise UsageError("--seed draws a sample, and none is asked for", hint=f"Say: --sample 5% --seed {seed}")
    return Selection(
        share=None if sample is None else parse_share(sample),
        seed=secrets.randbits(SEED_BITS) if seed is None else seed,
        since=None if since is None else parse_instant(since, zone=zone, now=SystemClock().now()),
    )


def _document(cluster: str, reports: Reports, selection: Selection) -> dict[str, Any]:
    """The JSON of a run: what it said of the only copy before there were several, and the same of each."""
    documents = [_copy_document(each) for each in reports.copies]
    first = documents[0]
    return {
        "cluster": cluster,
        "passed": all(document["passed"] for document in documents),
        "sample": selection.share,
        "seed": None if selection.share is None else selection.seed,
        "since": None if selection.since is None else iso(selection.since),
        **{name: first[name] for name in ("backups", "objects", "stored_bytes", "wal_segments", "wal_tails")},
        "notes": [note for document in documents for note in document["notes"]],
        "problems": [problem for document in documents for problem in document["problems"]],
        "copies": documents,
    }


def _copy_document(found: CopyReport) -> dict[str, Any]:
    report = found.report
    return {
        "copy": found.copy,
        "passed": not report.problems,
        "answered": found.silence is None,
        "backups": report.backups,
        "verified": [label for label in report.read_whole if not report.problems_of(label)],
        "objects": report.object_count,
        "stored_bytes": report.stored_bytes,
        "wal_segments": report.segment_count,
        "wal_tails": report.tail_count,
        "records": report.record_count,
        "left_out": report.left_out_count,
        "backups_left_out": report.backups_left_out,
        "notes": report.notes,
        "problems": [
            {"copy": found.copy, "what": problem.what, "error": str(problem.error)} for problem in report.problems
        ],
    }


def _lines(found: CopyReport, selection: Selection) -> list[str]:
    report = found.report
    lines = [f"{found.copy}: note: {note}" for note in report.notes]
    lines += [f"{found.copy}: problem: {problem.what}: {problem.error}" for problem in report.problems]
    return [*lines, f"{found.copy}: {_summary(report)}{_left_out(report, selection)}"]


def _summary(report: VerifyReport) -> str:
    read = f"{report.object_count} objects, {render.size(report.stored_bytes)}"
    tails = f", {report.tail_count} streamed tails" if report.tail_count else ""
    counted = f"{len(report.backups)} backups, {report.segment_count} WAL segments{tails}"
    return f"read back {read}: {counted}, {len(report.problems)} problems"


def _left_out(report: VerifyReport, selection: Selection) -> str:
    """What was not read, where that was not all: a share that passed is not the whole."""
    said = []
    if selection.share is not None:
        said.append(f"a sample of {selection.share:.3%}".replace(".000%", "%") + f", seed {selection.seed}")
    if selection.since is not None:
        said.append(f"since {render.instant(selection.since)}")
    if not said:
        return ""
    left = f"{report.backups_left_out} backups, {report.left_out_count} packs, maps and WAL segments"
    return f" ({'; '.join(said)}: {left} were not read)"
