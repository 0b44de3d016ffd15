"""`pgvault verify`."""

from __future__ import annotations

import typer  # noqa: TC002  typer itself reads the annotation

from pgvault.cli import render
from pgvault.cli.opening import open_cluster
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
from pgvault.verify.verify import Verifier


def verify(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    repository: RepositoryOption = None,
    key: KeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read back every object of every backup and the WAL between, and check all of it.

    Example: pgvault verify --cluster main
    """
    source = source_of(ctx, config, repository=repository, key=key, region=region, endpoint_url=endpoint_url)
    opened = open_cluster(source, cluster)
    with render.showing_progress() as progress:
        report = Verifier(opened.repository, opened.name, jobs=opened.config.jobs, progress=progress).run()
    if as_json:
        render.write_json(
            {
                "cluster": opened.name,
                "passed": not report.problems,
                "backups": report.backups,
                "objects": report.object_count,
                "stored_bytes": report.stored_bytes,
                "wal_segments": report.segment_count,
                "wal_tails": report.tail_count,
                "notes": report.notes,
                "problems": [{"what": problem.what, "error": str(problem.error)} for problem in report.problems],
            }
        )
    else:
        read = f"{report.object_count} objects, {render.size(report.stored_bytes)}"
        tails = f", {report.tail_count} streamed tails" if report.tail_count else ""
        counted = f"{len(report.backups)} backups, {report.segment_count} WAL segments{tails}"
        render.write_lines([f"note: {note}" for note in report.notes])
        render.write_lines([f"problem: {p.what}: {p.error}" for p in report.problems])
        render.write_lines([f"read back {read}: {counted}, {len(report.problems)} problems"])
    report.require_whole()
