"""After a gap: one backup, until there is one, and never one after another."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from pgvault.postgres.lsn import MIB, Lsn
from pgvault.repository.gaps import GapRecord
from pgvault.wal.streaming import heal
from pgvault.wal.streaming.heal import BackupCommand, Healer
from pgvault.wal.streaming.outage import Crew
from tests.archive import AT, SYSTEM
from tests.wal.servers import wait_until

GAP = GapRecord(SYSTEM, 1, Lsn(5 * MIB), Lsn(7 * MIB), "spilled", AT)


@dataclass
class Gaps:
    """What the repository says: the gap is there until a backup has written `done`, unless it never heals."""

    done: Path
    heals: bool = True
    looks: int = field(default=0)

    def __call__(self) -> tuple[GapRecord, ...]:
        self.looks += 1
        return () if self.heals and self.done.exists() else (GAP,)


def command(directory: Path, script: str) -> BackupCommand:
    """A backup that adds a line to `tries` and then does what `script` says."""
    begin = f"import pathlib, sys, time; d = pathlib.Path({str(directory)!r}); print('x', file=(d / 'tries').open('a'))"
    return BackupCommand([sys.executable, "-c", f"{begin}\n{script}"], {}, directory / "backup.log")


def tries(directory: Path) -> int:
    path = directory / "tries"
    return len(path.read_text().split()) if path.exists() else 0


def end(healer: Healer, crew: Crew, stop: Event) -> None:
    stop.set()
    healer.wake.set()
    assert crew.join(seconds=10)
    crew.check()


@pytest.mark.parametrize("heals", [True, False])
def test_one_backup(tmp_path: Path, heals: bool) -> None:
    """One gap asks for one backup, also where that does not heal it."""
    gaps = Gaps(tmp_path / "done", heals)
    healer = Healer(command(tmp_path, "(d / 'done').touch()"), gaps)
    crew, stop = Crew(), Event()
    crew.start(lambda: healer.run(stop), name="healer")
    healer.wake.set()
    wait_until(lambda: gaps.looks == 2)

    end(healer, crew, stop)

    assert tries(tmp_path) == 1


def test_failed_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A backup that fails is tried again; what it said is told once."""
    monkeypatch.setattr(heal, "FIRST_SECONDS", 0.05)
    script = "n = len((d / 'tries').read_text().split())\n(d / 'done').touch() if n == 3 else sys.exit('no room')"
    gaps = Gaps(tmp_path / "done")
    healer = Healer(command(tmp_path, script), gaps)
    crew, stop = Crew(), Event()
    crew.start(lambda: healer.run(stop), name="healer")
    healer.wake.set()
    wait_until(gaps.done.exists)

    end(healer, crew, stop)

    assert tries(tmp_path) == 3
    assert [r.levelname for r in caplog.records if "failed with status 1: no room" in r.message] == ["ERROR"]


def test_backup_ends_with_the_stream(tmp_path: Path) -> None:
    """A backup under way is ended with the stream that began it."""
    healer = Healer(command(tmp_path, "time.sleep(60)"), Gaps(tmp_path / "done"))
    crew, stop = Crew(), Event()
    crew.start(lambda: healer.run(stop), name="healer")
    healer.wake.set()
    wait_until(lambda: tries(tmp_path) == 1)

    end(healer, crew, stop)
