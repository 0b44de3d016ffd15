"""pg_receivewal as a child: none is left behind, and nobody else's process is taken for one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.wal.streaming import receiver
from pgvault.wal.streaming.receiver import ReceiverPlace, end_orphan


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_orphan_is_ended(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """The process that an earlier supervisor has written down is interrupted."""
    ticks = receiver._start_ticks(child.pid)
    ReceiverPlace(tmp_path).record.write_text(f"{child.pid} {ticks}\n")

    assert end_orphan(tmp_path)
    assert child.wait(1) == -2
    assert not end_orphan(tmp_path)


def test_process_id_of_somebody_else(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    """A process with that id that was started at another time is left alone."""
    ticks = receiver._start_ticks(child.pid)
    assert ticks is not None
    ReceiverPlace(tmp_path).record.write_text(f"{child.pid} {ticks - 1}\n")

    assert not end_orphan(tmp_path)
    assert child.poll() is None


@pytest.mark.parametrize("record", ["", "x y", "0 0", "-1 5"])
def test_record_that_means_nothing(tmp_path: Path, record: str) -> None:
    """A record that was cut or made up ends nobody."""
    ReceiverPlace(tmp_path).record.write_text(record)

    assert not end_orphan(tmp_path)
