from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvault.errors import TargetInvalid, UsageError
from pgvault.process import Finished, attempt
from tests.archive import ROOT, Archive, make_archive

SCRIPT = ROOT / "scripts" / "restore-from-backup.sh"
SAY = "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 37\n"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return make_archive(tmp_path)


def run_script(*words: str, path: str = os.environ["PATH"], config: Path | None = None) -> Finished:
    """Run it as an old runbook does."""
    environment = {"PATH": path, "PGVAULT_CONFIG": str(config), "HOME": "/nonexistent"}
    return attempt([SCRIPT, *words], timeout=120, env=environment)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--date=2025-10-25", "--time=10:00"], ["--to", "2025-10-25T10:00"]),
        (["--date", "2025-10-25", "--time", "10:00"], ["--to", "2025-10-25T10:00"]),
        (["--time=10:00:30", "--date=2025-10-25"], ["--to", "2025-10-25T10:00:30"]),
        (["--date=2025-10-25"], ["--to", "2025-10-25T00:00"]),
        (
            ["--dry-run", "--date=2025-10-25", "/srv/a b", "--time=10:00", "--cluster", "main"],
            ["--to", "2025-10-25T10:00", "--dry-run", "/srv/a b", "--cluster", "main"],
        ),
    ],
)
def test_it_is_pgvault_restore(words: list[str], said: list[str], tmp_path: Path) -> None:
    """`scripts/restore-from-backup.sh --date=2025-10-25 --time=10:00`: all else is passed on, as is the exit code."""
    program = tmp_path / "pgvault"
    program.write_text(SAY)
    program.chmod(0o755)

    finished = run_script(*words, path=f"{tmp_path}:{os.environ['PATH']}")

    assert (finished.status, finished.output.splitlines()) == (37, ["restore", *said])


@pytest.mark.parametrize("words", [[], ["--time=10:00"], ["--date"]])
def test_without_a_day_nothing_is_restored(words: list[str]) -> None:
    """No default is right here."""
    finished = run_script(*words)

    assert finished.status == UsageError.exit_code
    assert finished.errors.startswith("error: ")


def test_its_exit_codes_are_pgvaults(archive: Archive) -> None:
    """A day that is none is told by pgvault itself."""
    finished = run_script("--date=2025-10-32", "--time=10:00", config=archive.config)

    assert finished.status == TargetInvalid.exit_code
    assert "2025-10-32T10:00" in finished.errors
