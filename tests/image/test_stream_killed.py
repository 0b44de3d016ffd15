"""What a StatefulSet promises for `wal stream`: one volume that outlives the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import WalGap
from tests.image.yard import DATA, REPOSITORY, Yard
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SEGMENTS = 4
FRESH = Path("/var/lib/fresh")


def test_nothing_is_lost_between_the_close_of_a_segment_and_its_upload(yard: Yard) -> None:
    """Killed while its volume alone has what the slot has let go: the next container on that volume archives it.

    On another volume, as a Deployment's would be, the same WAL is missing, and told.
    """
    first = yard.stream()
    first.wait_for("streaming from")
    backup = yard.start("backup", reads=[DATA])
    assert backup.end() == 0, backup.log()
    with_closed_repository(yard, closed=True)
    names = set(yard.write(1, segments=SEGMENTS))
    wait_until(lambda: names <= yard.spooled() and slot_is_behind(yard, max(names)), seconds=120)
    yard.sql("CHECKPOINT")
    assert not names & server_has(yard), "the server has it still: nothing hangs on the volume"

    first.signal("KILL")
    assert first.end() == 128 + 9
    assert not names & yard.archived()
    with_closed_repository(yard, closed=False)

    lost = yard.stream(f"--spool={FRESH}/stream", spool=FRESH)
    lost.wait_for("is lost")
    assert yard.run("wal", "list", "--missing").status == WalGap.exit_code
    lost.signal("KILL")
    lost.end()

    second = yard.stream()
    second.wait_for("streaming from")
    names |= set(yard.write(2))
    wait_until(lambda: names <= yard.archived(), seconds=120)

    yard.good("wal", "list", "--missing")
    second.signal("KILL")
    second.end()


def with_closed_repository(yard: Yard, *, closed: bool) -> None:
    """Let nobody write to the repository, or everybody again."""
    for path in (yard.outside(REPOSITORY), *yard.outside(REPOSITORY).rglob("*")):
        if path.is_dir():
            path.chmod(0o500 if closed else 0o700)


def slot_is_behind(yard: Yard, name: str) -> bool:
    """Whether the slot keeps nothing of that segment, nor of any before it."""
    ((behind,),) = yard.sql(f"SELECT bool_and(pg_walfile_name(restart_lsn + 1) > '{name}') FROM pg_replication_slots")
    return bool(behind)


def server_has(yard: Yard) -> set[str]:
    """The segments in the server's own pg_wal that hold what their names say; not those made for later."""
    found = yard.sql("SELECT name FROM pg_ls_waldir() WHERE name < pg_walfile_name(pg_current_wal_lsn())")
    return {str(name) for (name,) in found}
