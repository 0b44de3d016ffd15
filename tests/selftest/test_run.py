from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgvault.errors import DrillFailed, DrillNotRun
from pgvault.selftest.run import FAULTS, Caught, SelfTest, require_caught
from tests.archive import pgvault
from tests.cluster.drills import scratch_processes


def test_every_fault_must_be_planted_and_caught() -> None:
    """One that was missed is named; nothing planted is no pass."""
    caught = [Caught(name, is_caught=True, said="red", seconds=1) for name in FAULTS]
    missed = [*caught[:-1], Caught("the last", is_caught=False, said="PASSED", seconds=1)]

    require_caught(SelfTest("18.0", faults=caught))

    assert SelfTest("18.0", faults=caught).passed
    for faults, why in (
        (missed, "did not catch 'the last': PASSED"),
        ([], "not every fault"),
        (caught[1:], "not every"),
    ):
        with pytest.raises(DrillFailed, match=why):
            require_caught(SelfTest("18.0", faults=faults))


@pytest.mark.cluster
@pytest.mark.endurance
def test_on_this_host_each_fault_is_caught_for_its_own_reason(short: Path) -> None:
    """No configuration, no server and no repository is needed, and nothing is left behind."""
    finished = pgvault("drill", "--self-test", "--scratch", short, "--json", timeout=600)

    assert finished.status == 0, finished.errors
    document = json.loads(finished.output)
    assert document["passed"]
    said = {each["fault"]: each["said"] for each in document["faults"]}
    assert list(said) == list(FAULTS)
    assert "is missing between backup" in said["a missing WAL segment"]
    assert "no slot of 'keys/00000001' accepts it" in said["a wrong key"]
    assert "objective backup_age missed" in said["a stale backup"]
    assert "accounts_customer_id_fkey" in said["an orphan"]
    assert "pg_checksums" in said["a flipped byte in a heap"]
    assert 'relation "payments" does not exist' in said["a dropped table"]
    assert list(short.iterdir()) == []
    assert scratch_processes(short) == []


def test_without_a_place_it_could_not_run(tmp_path: Path) -> None:
    """That says nothing about drills."""
    finished = pgvault("drill", "--self-test", "--scratch", tmp_path / "absent")

    assert finished.status == DrillNotRun.exit_code
    assert "is no directory" in finished.errors
