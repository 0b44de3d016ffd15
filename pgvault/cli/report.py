"""`pgvault report`: what was promised, proven and not, as a page for people who do not type commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pgvault.cli import render
from pgvault.cli.options import ClusterOption, ConfigOption, JsonOption, source_of
from pgvault.cli.reading import open_to_read
from pgvault.cli.status import PATIENCE, chosen, statuses_of
from pgvault.cli.writing import write_document
from pgvault.config import Config
from pgvault.errors import CheckFailed, ObjectiveMissed, ServerUnfit, UsageError
from pgvault.instants import SystemClock
from pgvault.report.document import Report, Standing
from pgvault.report.gather import Asked, gather_quality, gather_report
from pgvault.report.page import make_page

STDOUT = Path("-")
SIGNS = {"passed": "+", "failed": "X", "unproven": "?"}
WORDS = {"good": "ok", "watch": "warn", "bad": "RED", "unknown": "?", "kept": "ok", "missed": "MISS"}


def report(
    ctx: typer.Context,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a self-contained page; - is stdout.")
    ] = None,
    quality: Annotated[bool, typer.Option("--quality", help="Only what the checks found in the data.")] = False,
    fail_if_red: Annotated[
        bool,
        typer.Option("--fail-if-red", help="End with 51 (--quality: 53, or 21 where nothing was ever checked) if so."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Report on every cluster: objectives, recovery window, drills, data quality; what was not tested.

    It exits with 0 when it is written, whatever it says, unless --fail-if-red.

    Example: pgvault report --html report.html
    """
    if as_json and html == STDOUT:
        raise UsageError("--json and --html - both write to stdout", hint="Give --html a file.")
    made = _gather(source_of(ctx, config).load(), cluster, quality=quality)
    document = made.to_json()
    if html is not None:
        write_page(make_page(document), html)
    if as_json:
        render.write_json(document)
    elif html is None:
        render.write_lines(list(_lines(document)))
    if fail_if_red:
        raise_if_red(made)


def _gather(config: Config, cluster: str | None, *, quality: bool) -> Report:
    clusters, clock = chosen(config, cluster), SystemClock()
    repository = open_to_read(config, patience=PATIENCE)
    if quality:
        return gather_quality(Asked(repository, clusters, config.timezone, clock.now()))
    statuses = list(statuses_of(config, clusters, open_repository=lambda: repository))
    return gather_report(Asked(repository, clusters, config.timezone, clock.now()), statuses)


def write_page(page: str, path: Path) -> None:
    """Write a page, to stdout or whole into its file."""
    if path == STDOUT:
        sys.stdout.write(page)
    else:
        write_document(path, page)


def raise_if_red(made: Report) -> None:
    """Raise what is wrong: ObjectiveMissed for a cluster; of data quality CheckFailed, ServerUnfit for none known."""
    bad = [each for each in made.clusters if each.headline.standing is Standing.BAD]
    silent = [each for each in made.clusters if each.headline.standing is Standing.UNKNOWN]
    if made.scope == "quality":
        if bad:
            raise CheckFailed(f"cluster {bad[0].cluster!r}: {bad[0].quality.sentence.rstrip('.')}")
        if silent:
            raise ServerUnfit(f"cluster {silent[0].cluster!r}: {silent[0].quality.sentence.rstrip('.')}")
    elif bad or silent:
        first = (bad or silent)[0]
        raise ObjectiveMissed(f"cluster {first.cluster!r}: {first.headline.title.lower()}: {first.headline.sentence}")


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report in short, for a terminal."""
    for each in document["clusters"]:
        said = each["headline"]
        yield render.printable(f"{each['cluster']}: {said['title']}. {said['sentence']}")
        for promise in each["objectives"]:
            yield f"  {WORDS.get(promise['verdict'], '?'):4} {promise['name']}: {_promise(promise)}"
        if document["scope"] != "quality":
            yield render.printable(f"  data: {each['quality']['sentence']}")
        for check in each["quality"]["checks"]:
            yield from _check_lines(check)
        yield from (f"  not on this page: {left}" for left in each["left_out"])
    for unread in document["reading"]["unread_copies"]:
        yield render.printable(f"read without copy {unread['copy']!r}: {unread['error']}")


def _promise(promise: Mapping[str, Any]) -> str:
    if promise["measured"] is None:
        return render.printable(f"not measured: {promise['note']}")
    say = (lambda value: f"{value:.2%}") if promise["unit"] == "share" else render.duration
    promised = "" if promise["promised"] is None else f", promised {say(promise['promised'])}"
    return f"{say(promise['measured'])}{promised} ({promise['by']})"


def _check_lines(check: Mapping[str, Any]) -> Iterator[str]:
    places = [
        f"{where} {''.join(SIGNS[result['verdict']] for result in check[place])}"
        for where, place in (("live", "live"), ("drills", "drill"))
        if check[place]
    ]
    said = "; ".join(places) or "no result yet"
    yield render.printable(f"  {WORDS[check['standing']]:4} check {check['name']} ({check['severity']}): {said}")
    for failure in check["failures"]:
        since = ", passed since" if failure["is_over"] else ""
        yield render.printable(f"       failed {failure['where']} {failure['at']}{since}: {failure['detail']}")
        yield from (render.printable(f"         {row}") for row in failure["rows"])
