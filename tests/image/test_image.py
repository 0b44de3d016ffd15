"""The image as jobs and services use it: no test here but by running it."""

from __future__ import annotations

import os

import pytest

from pgvault.errors import AlreadyRunning
from pgvault.process import attempt, run
from tests.image.yard import DATA, HARDENED, IMAGE, REMOTE, RESTORED, STATE, TIMEOUT, USER, Yard, missing
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SCRAPE = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9187/metrics').read().decode())"
ANYBODY = 4242


def test_from_the_first_check_to_a_restored_row(yard: Yard) -> None:
    """Streamed, backed up with the server's files and without, restored onto a volume, drilled, dumped.

    Each by a container of its own; a second stream on the volume is refused at once, and the first goes on.
    """
    before = yard.json("list")
    assert isinstance(before, dict)
    stream = yard.stream()
    stream.wait_for("streaming from")
    yard.good("check", reads=[DATA])
    yard.good("backup", reads=[DATA])
    yard.good("backup", "--config", str(REMOTE))
    yard.write(1)
    ((moment,),) = yard.sql("SELECT clock_timestamp()::text")
    yard.write(2)

    yard.good("restore", "--to", str(moment), "--finish", str(RESTORED / "data"), writes=[RESTORED])

    look = "COPY (SELECT 'row', number FROM rows) TO STDOUT"
    single = ("--single", f"-D{RESTORED}/data", "postgres")
    rows = yard.program("postgres", *single, writes=[RESTORED], input=f"{look}\n")
    assert "row\t1\n" in rows
    assert "row\t2\n" not in rows
    drilled = yard.good("drill")
    assert "passed" in drilled
    yard.good("backup", "--type", "logical")
    yard.good("drill", "--logical", "latest")
    backups = yard.json("list")
    assert isinstance(backups, dict)
    assert [len(backups[kind]) for kind in ("backups", "logical")] == [len(before["backups"]) + 2, 1]

    second = yard.stream()
    assert second.end() == AlreadyRunning.exit_code
    assert "another pgvault wal stream uses the spool" in second.log()
    names = set(yard.write(3))
    wait_until(lambda: names <= yard.archived(), seconds=120)
    stream.signal("TERM")
    assert stream.end() == 0
    assert "stopped: everything received is archived" in stream.log()


def test_metrics_are_served_until_told_to_end(yard: Yard) -> None:
    """By a service that sees the repository and the server, and nothing else."""
    service = yard.start("metrics", "serve")
    wait_until(
        lambda: "pgvault_cluster" in service.execute("/opt/pgvault/bin/python3", "-c", SCRAPE).output, seconds=120
    )

    assert service.execute("cat", "/proc/1/comm").output.strip() == "tini"
    service.signal("TERM")
    assert service.end() == 0


def test_a_job_that_is_told_to_end_says_so(yard: Yard) -> None:
    """A backup that waits for WAL which nobody archives ends by its own status, and is not listed."""
    before = yard.json("list")
    backup = yard.start("-v", "backup", reads=[DATA])
    wait_until(lambda: "archiving" in backup.log(), seconds=120)

    backup.signal("TERM")

    assert backup.end() == 1, backup.log()
    assert "error: ended by SIGTERM" in backup.log()
    assert yard.json("list") == before


def test_a_command_that_handles_no_signal_ends_by_it(yard: Yard) -> None:
    """Which it would not as process 1: the kernel keeps from that what it has no handler for."""
    os.mkfifo(yard.outside(STATE) / "config")
    listing = yard.start("list", "--config", str(STATE / "config"), writes=[STATE])
    processes = ("sh", "-c", "cat /proc/[0-9]*/cmdline")
    wait_until(lambda: "python3\0/opt/pgvault/bin/pgvault\0list" in listing.execute(*processes).output, seconds=60)

    listing.signal("TERM")

    assert listing.end() == 128 + 15


def test_whoever_it_runs_as_has_a_name() -> None:
    """initdb, for one, refuses a user without: and OpenShift, or runAsUser, draws any number."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    words = [
        "podman",
        "run",
        "--rm",
        *HARDENED,
        "--passwd=false",
        f"--user={ANYBODY}:0",
        "--entrypoint=sh",
        IMAGE,
        "-c",
    ]
    initdb = "$(ls /usr/lib/postgresql/*/bin/initdb | tail -n 1) --no-sync --pgdata=/tmp/data"

    nameless = attempt([*words, initdb], timeout=TIMEOUT)
    named = attempt([*words, f"pgvault --version && id -un && {initdb}"], timeout=TIMEOUT)

    assert "could not look up effective user ID" in nameless.errors
    assert named.status == 0, named
    assert named.output.splitlines()[1] == "pgvault"


def test_it_is_small_and_holds_no_tools() -> None:
    """No compiler, no pip; an ordinary user; labels that say what it is."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    script = "id -u; command -v cc gcc pip ld; ls /opt/pgvault/lib/python3*/site-packages | grep -x pip; true"
    words = ["podman", "run", "--rm", "--network=none", "--entrypoint=sh", IMAGE, "-c", script]
    assert run(words, timeout=TIMEOUT).split() == [str(USER)]

    labels = run(["podman", "image", "inspect", "--format={{json .Labels}}", IMAGE], timeout=TIMEOUT)
    assert '"org.opencontainers.image.licenses":"Apache-2.0"' in labels
