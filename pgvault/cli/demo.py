"""`pgvault demo`."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.audit.signer import read_or_make
from pgvault.cli import render
from pgvault.cli.auditing import Book, recording
from pgvault.cli.drill import record_drill
from pgvault.cli.drillreport import mark, verdict
from pgvault.cli.opening import RepositorySource, make_copies, open_from, read_credential
from pgvault.cli.options import JsonOption
from pgvault.config import load_config
from pgvault.demo.run import CLUSTER, OBJECTIVES, DemoHost, DemoReport, Step, make_directory, run_demo
from pgvault.drill.run import require_passed
from pgvault.instants import SystemClock
from pgvault.repository.keyfile import generate_key_file
from pgvault.repository.repository import Repository, init_repository


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Work in this directory, and leave everything there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Back up, lose a table, restore to just before, and prove it, on a throw-away PostgreSQL.

    Example: pgvault demo --keep /tmp/demo
    """
    directory = make_directory(keep or Path(tempfile.gettempdir()))
    try:
        with render.showing_progress() as progress:
            config = directory / "pgvault.yaml"
            source = RepositorySource(config)
            host = DemoHost(
                directory=directory,
                config=config,
                open_repository=lambda dsn: _make_repository(directory, dsn),
                source=source.to_json(),
                clock=SystemClock(),
                progress=progress,
                told=lambda step: _tell(step, as_json=as_json),
                recording=lambda repository, what: _recording(_book(config, repository), what),
                recorded_drill=lambda repository, run: record_drill(_book(config, repository), run),
            )
            report = run_demo(host)
    finally:
        if keep is None:
            shutil.rmtree(directory)
    _render(report, kept=keep is not None, as_json=as_json)
    assert report.drill is not None
    require_passed(report.drill)


def _make_repository(directory: Path, dsn: str) -> Repository:
    """Write the smallest configuration, make keys and repository, and open it as any command would."""
    key, audit_key = directory / "key", directory / "audit.key"
    signer = read_or_make(audit_key).public  # of its own, and pinned: the demo leaves nothing in the user's home
    document = {
        "repository": {"key": f"file:{key}", "copies": {"primary": {"url": f"file://{directory}/repository"}}},
        "clusters": {CLUSTER: {"dsn": dsn, "objectives": {"rpo": "15m", "rto": "4h"}}},
        "audit": {"key": f"file:{audit_key}", "signers": {"demo": str(signer)}},
    }
    config = directory / "pgvault.yaml"
    config.write_text(json.dumps(document, indent=2))  # JSON is YAML
    generate_key_file(key)
    loaded = load_config(config)
    assert loaded.clusters[CLUSTER].objectives == OBJECTIVES
    init_repository(make_copies(loaded), read_credential(loaded), now=SystemClock().now())
    repository = open_from(loaded)
    with recording(Book(repository, loaded.audit), "init"):
        pass
    return repository


def _book(config: Path, repository: Repository) -> Book:
    return Book(repository, load_config(config).audit, CLUSTER)


@contextmanager
def _recording(book: Book, what: str) -> Iterator[dict[str, Any]]:
    """Record a step as the command of that name is, which whoever looks at the demo later is shown."""
    with recording(book, what) as event:
        yield event.details


def _tell(step: Step, *, as_json: bool) -> None:
    """Say each step as it is done; with --json on stderr, since stdout is for the document."""
    stream = sys.stderr if as_json else sys.stdout
    stream.write(f"{render.duration(step.seconds):>8}  {step.name}: {step.detail}\n")
    stream.flush()


def _render(report: DemoReport, *, kept: bool, as_json: bool) -> None:
    if as_json:
        render.write_json(report.to_json())
        return
    assert report.drill is not None
    for check in report.drill.checks:
        render.write_lines([f"          {mark(check):<4} {check.name}: {check.detail}"])
    if kept:
        render.write_lines([f"kept in {report.directory}; try: pgvault --config {report.directory}/pgvault.yaml list"])
    render.write_lines([verdict(report.drill)])
