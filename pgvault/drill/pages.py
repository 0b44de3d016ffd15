"""The checksums of every page of every file, those that no query read too: pg_checksums over the stopped server.

It comes after everything else, since it wants the server stopped: nobody who restores waits for it, and it is no part
of RTO. pg_checksums goes over the data directory and all tablespaces: every fork of every relation, template0 too.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from pgvault.checks.result import SAMPLE_ROWS, CheckResult, Verdict, finding, unproven
from pgvault.drill.report import PAGES, DrillReport
from pgvault.errors import ProgramFailed, ProgramMissing
from pgvault.postgres.instance import SERVER_ENVIRONMENT, Instance, ShutdownMode
from pgvault.process import Finished, attempt

NAME = "pg_checksums"
STOP_SECONDS = 600.0  # what the looks changed is written to disk first
CHECK_SECONDS = 12 * 3600.0
BAD = re.compile(r'checksum verification failed in file "(.+)", block (\d+):')
SCANNED = re.compile(r"^(Files scanned|Blocks scanned|Bad checksums): +(\d+)$", re.M)
NONE = "page checksums: the cluster has none (data_checksums is off)"


def look_at_pages(report: DrillReport, instance: Instance, *, has_checksums: bool) -> None:
    """Let the report say what the pages are like; the server is stopped then. RTO ended before."""
    report.not_tested.remove(PAGES)
    if has_checksums:
        report.checks.append(check_pages(instance))  # not `add`: nobody who restores waits for it
    else:
        report.not_tested.insert(0, NONE)


def check_pages(instance: Instance) -> CheckResult:
    """Stop a restored server, whose cluster has checksums, and look at every page. Raises nothing for what is found."""
    began = time.monotonic()
    try:
        program = instance.programs.path(NAME)
        instance.stop(ShutdownMode.FAST, timeout=STOP_SECONDS)
        argv: list[str | Path] = [program, "--check", "-D", instance.data]
        command = instance.launcher.command(argv, env=SERVER_ENVIRONMENT, data=instance.data)
        finished = attempt(command.argv, timeout=CHECK_SECONDS, env=command.env, cwd=Path("/"))
    except (ProgramFailed, ProgramMissing) as error:
        return unproven(NAME, str(error), seconds=time.monotonic() - began)
    return judge(finished, instance.data, seconds=time.monotonic() - began)


def judge(finished: Finished, data: Path, *, seconds: float) -> CheckResult:
    """Say what pg_checksums found: only a run that looked at pages, to the end, and found none bad, is a pass."""
    counts = {name: int(number) for name, number in SCANNED.findall(finished.output)}
    bad = [f"{_inside(path, data)} block {block}" for path, block in BAD.findall(finished.errors)]
    count = max(counts.get("Bad checksums", 0), len(bad))
    if count:
        named = ", ".join(bad[:3])
        detail = f"{count} pages have a wrong checksum: {named}"
        return CheckResult(NAME, Verdict.FAILED, count, 0, "critical", detail, seconds, sample=tuple(bad[:SAMPLE_ROWS]))
    blocks, files = counts.get("Blocks scanned", 0), counts.get("Files scanned", 0)
    if finished.status != 0 or not blocks:
        lines = (finished.errors or finished.output).strip().splitlines()
        said = lines[-1] if lines else f"status {finished.status}"
        return finding(NAME, f"not every page could be looked at: {said}", seconds=seconds)
    return finding(NAME, None, seconds=seconds, detail=f"{blocks} pages in {files} files")


def _inside(path: str, data: Path) -> str:
    """Return a file's path relative to the data directory."""
    return path.removeprefix(f"{os.fspath(data)}/")
