from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvault.errors import ClusterRunning
from pgvault.restore.inplace import Swap, carry_out, require_stopped

ELSEWHERE = 4_194_305  # beyond the highest process id of Linux: as a number of another PID namespace looks from here


def pid_file(data: Path, number: int) -> Path:
    data.mkdir()
    path = data / "postmaster.pid"
    path.write_text(f"{number}\n{data}\n")
    return path


@pytest.mark.parametrize("number", [ELSEWHERE, os.getpid()], ids=["nobody", "somebody else"])
def test_a_server_of_another_container_counts_as_running(tmp_path: Path, number: int) -> None:
    """Its process is not seen from here, or is somebody else's; postmaster.pid says that it may be there."""
    path = pid_file(tmp_path / "data", number)

    with pytest.raises(ClusterRunning) as caught:
        require_stopped(path.parent)

    assert str(path) in str(caught.value)
    assert "crashed" in str(caught.value.hint)
    path.unlink()
    require_stopped(path.parent)


def test_a_server_that_was_started_meanwhile_keeps_its_directory(tmp_path: Path) -> None:
    """Looked at again right before the rename."""
    path = pid_file(tmp_path / "data", ELSEWHERE)
    swap = Swap(path.parent, tmp_path / "staging", tmp_path / "aside")
    swap.staging.mkdir()

    with pytest.raises(ClusterRunning):
        carry_out(swap)

    assert path.exists()
    assert not swap.aside.exists()
