"""What is lost when a streamed server dies under load, and what its failovers cost: minutes of real servers."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.streams import EVERY_SECONDS, Load, Streamed, make_streamed, standby_of, write_stream_config
from tests.servers import MAJORS, NEWEST, Server, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SLOW = 0.02  # seconds between commits: then no segment is finished in time, and all there is are tails


@pytest.fixture
def streamed(server: ServerFactory, tmp_path: Path, major: int) -> Iterator[Streamed]:
    """A server of each major, backed up while it is streamed."""
    made = make_streamed(server, tmp_path, major)
    made.server.sql("CREATE TABLE rows (number int, filler text)")
    made.start_streaming()
    try:
        made.backup()
        yield made
    finally:
        made.kill()


@dataclass(slots=True)
class Clients:
    """Three clients that commit until their server is gone, as fast as they can unless told to pause."""

    loads: list[Load]
    threads: list[threading.Thread] = field(default_factory=list)
    is_over: bool = False

    @classmethod
    def start(cls, dsn: str, *, pause_seconds: float = 0.0) -> Clients:
        clients = cls([Load(dsn, table, pause_seconds) for table in ("a", "b", "c")])
        for load in clients.loads:
            load.prepare()
        clients.go_on(dsn)
        return clients

    def go_on(self, dsn: str) -> None:
        """Commit again, the server being back."""
        self.is_over = False
        self.threads = []
        for load in self.loads:
            load.dsn = dsn
            thread = threading.Thread(target=load.run_until, args=(lambda: self.is_over,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def counts(self) -> list[int]:
        """How many commits each client knows of."""
        return [len(load.acknowledged) for load in self.loads]

    def join(self) -> None:
        self.is_over = True
        for thread in self.threads:
            thread.join(30)

    def loss_seconds(self, restored: Server, *, until: float) -> float:
        """How long before `until` the oldest commit was that is not there; what is there has no hole."""
        worst = 0.0
        for load in self.loads:
            found = {int(str(number)) for (number,) in restored.sql(f"SELECT number FROM {load.table}")}
            lost = [at for number, at in load.acknowledged if number not in found]
            worst = max([worst, *(until - at for at in lost)])
            assert len(load.acknowledged) > 100
            assert found >= set(range(len(load.acknowledged) - len(lost)))
        return worst


@pytest.mark.parametrize(("major", "pause_seconds"), [*((major, 0.0) for major in MAJORS), (NEWEST, SLOW)])
def test_nothing_is_lost_with_the_server_alone(streamed: Streamed, pause_seconds: float) -> None:
    """kill -9 of the server under load: `latest` has every commit it acknowledged, and PITR stops where it is told."""
    clients = Clients.start(streamed.dsn, pause_seconds=pause_seconds)
    time.sleep(4)
    moment = datetime.now(UTC)
    at_moment = clients.counts()
    time.sleep(6)
    killed_at = time.monotonic()
    streamed.server.kill()
    clients.join()
    streamed.wait_for("pg_receivewal ended")
    time.sleep(1)
    streamed.kill()

    latest = streamed.restore("--to", "latest")
    earlier = streamed.restore("--to", moment.isoformat())

    # The server may have acknowledged what its wal sender had not sent yet: milliseconds.
    assert clients.loss_seconds(latest, until=killed_at) < 1
    for load, at_least in zip(clients.loads, at_moment, strict=True):
        held = int(str(earlier.value(f"SELECT count(*) FROM {load.table}")))
        assert at_least - 1 <= held <= at_least + 2


def test_loss_of_the_server_with_the_spool(streamed: Streamed) -> None:
    """Server, supervisor and spool gone at one moment: no commit older than `every` + 5 s is lost."""
    clients = Clients.start(streamed.dsn, pause_seconds=SLOW)
    time.sleep(EVERY_SECONDS * 5 + 0.3)
    killed_at = time.monotonic()
    streamed.kill()
    streamed.server.kill()
    clients.join()
    shutil.rmtree(streamed.spool)

    latest = streamed.restore("--to", "latest")

    assert clients.loss_seconds(latest, until=killed_at) < EVERY_SECONDS + 5


def test_failover_to_a_server_without_our_slot(streamed: Streamed, server: ServerFactory) -> None:
    """The dsn names both servers: the stream finds the new primary, makes its slot, and no byte is missing."""
    standby = standby_of(server, streamed.server)
    hosts = ",".join(str(one.instance.socket_dir) for one in (streamed.server, standby))
    write_stream_config(streamed, f"host={hosts} user=postgres dbname=postgres target_session_attrs=read-write")
    streamed.stop()
    streamed.start_streaming()
    streamed.server.sql("INSERT INTO rows SELECT g, repeat('x', 400) FROM generate_series(1, 5000) g")
    position = streamed.server.value("SELECT pg_current_wal_flush_lsn()")
    wait_until(lambda: standby.value(f"SELECT pg_last_wal_receive_lsn() >= '{position}'"))
    streamed.wait_received()  # or the old timeline's end would be known to the new one alone

    streamed.server.kill()
    standby.sql("SELECT pg_promote()")
    standby.sql("INSERT INTO rows VALUES (9999, 'after')")
    streamed.server = standby
    streamed.wait_for("(?s)pg_receivewal ended.*on timeline 2")
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1, timeline=2)
    restored = streamed.restore("--to", "latest")
    before = streamed.restore("--to", "latest", "--timeline", "1")

    assert streamed.gaps() == ()
    assert restored.value("SELECT count(*) FROM rows") == 5001
    assert before.value("SELECT count(*) FROM rows") == 5000  # the old timeline's end lies in its tails
    assert "ERROR" not in streamed.log()


def test_failover_that_lost_archived_wal(streamed: Streamed, server: ServerFactory) -> None:
    """The new primary never had the last segments: its timeline is streamed from the switch on, the old one's stay."""
    standby = standby_of(server, streamed.server)
    hosts = ",".join(str(one.instance.socket_dir) for one in (streamed.server, standby))
    write_stream_config(streamed, f"host={hosts} user=postgres dbname=postgres target_session_attrs=read-write")
    streamed.stop()
    streamed.start_streaming()
    standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
    standby.sql("SELECT pg_reload_conf()")
    wait_until(lambda: not standby.sql("SELECT 1 FROM pg_stat_wal_receiver"))
    streamed.server.sql("INSERT INTO rows VALUES (1, 'nobody but us has it')")
    streamed.write(3)
    streamed.wait_archived_to(streamed.current().number - 1)
    last = streamed.archived()[-1]

    streamed.server.kill()
    standby.sql("SELECT pg_promote()")
    streamed.server = standby
    streamed.wait_for("(?s)pg_receivewal ended.*on timeline 2")
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1, timeline=2)
    streamed.backup()
    restored = streamed.restore("--to", "latest")

    assert streamed.archived(2)[0] <= last
    assert last in streamed.archived(1)
    assert streamed.gaps() == ()
    assert restored.value("SELECT count(*) FROM rows") == 0


def test_promotion_of_a_streamed_standby(streamed: Streamed, server: ServerFactory) -> None:
    """A standby can be streamed too; when it is promoted the stream follows it to its new timeline."""
    standby = standby_of(server, streamed.server)
    streamed.stop()
    write_stream_config(streamed, standby.dsn)
    streamed.start_streaming()
    assert "a standby on timeline 1" in streamed.log()
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1)
    streamed.server.sql("INSERT INTO rows VALUES (1, 'before')")
    position = streamed.server.value("SELECT pg_current_wal_flush_lsn()")
    wait_until(lambda: standby.value(f"SELECT pg_last_wal_replay_lsn() >= '{position}'"))
    streamed.server.kill()

    standby.sql("SELECT pg_promote()")
    standby.sql("INSERT INTO rows VALUES (2, 'after')")
    streamed.server = standby
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1, timeline=2)
    streamed.server.sql("INSERT INTO rows VALUES (3, 'in a tail')")
    wait_until(lambda: streamed.current().name in streamed.tails(), seconds=EVERY_SECONDS + 5)
    time.sleep(EVERY_SECONDS + 1)
    restored = streamed.restore("--to", "latest")

    assert restored.sql("SELECT number FROM rows ORDER BY 1") == [(1,), (2,), (3,)]
    assert streamed.gaps() == ()
    assert "ERROR" not in streamed.log()


def test_two_failovers(streamed: Streamed, server: ServerFactory) -> None:
    """Three servers, two failovers, under load: what is archived leads to exactly what the last primary has."""
    sockets = [str(streamed.server.instance.socket_dir)]
    alive = [streamed.server]
    for _ in range(2):
        standby = standby_of(server, streamed.server)
        sockets.append(str(standby.instance.socket_dir))
        alive.append(standby)
    dsn = f"host={','.join(sockets)} user=postgres dbname=postgres target_session_attrs=read-write"
    for standby in alive[1:]:
        standby.restart({"primary_conninfo": f"{dsn} connect_timeout=3", "wal_retrieve_retry_interval": "500ms"})
    streamed.stop()
    write_stream_config(streamed, dsn)
    streamed.start_streaming()
    clients = Clients.start(streamed.server.dsn)
    for timeline in (2, 3):
        time.sleep(4)
        alive.remove(streamed.server)
        streamed.server.kill()
        clients.join()
        alive.sort(key=lambda one: int(str(one.value("SELECT floor(pg_last_wal_receive_lsn() - '0/0')::bigint"))))
        streamed.server = alive[-1]
        streamed.server.sql("SELECT pg_promote()")
        streamed.wait_for(f"on timeline {timeline}", seconds=60)
        clients.go_on(streamed.server.dsn)
    time.sleep(3)
    clients.join()
    streamed.write()
    streamed.wait_archived_to(streamed.current().number - 1, timeline=3, seconds=60)
    assert streamed.stop() == 0

    restored = streamed.restore("--to", "latest")

    assert streamed.gaps() == ()
    for load in clients.loads:
        held = f"SELECT count(*), coalesce(sum(number), 0) FROM {load.table}"
        assert restored.sql(held) == streamed.server.sql(held)


def test_kill_loop(streamed: Streamed, major: int) -> None:
    """Whatever is killed, in any order, under load: no hole, no gap, and every acknowledged commit comes back."""
    dice = random.Random(major)
    clients = Clients.start(streamed.dsn)
    for _ in range(10):
        time.sleep(dice.uniform(0.1, 1.5))
        victim = dice.choice(["supervisor", "receiver", "server", "spool file"])
        if victim == "receiver":
            with suppress(OSError):
                os.kill(streamed.receiver_pid(), signal.SIGKILL)
        if victim in {"supervisor", "spool file"}:
            streamed.kill()
            if victim == "spool file" and (files := sorted(streamed.received.glob("0*"))):
                dice.choice(files).unlink()
            streamed.start()
            if dice.random() < 0.7:  # else it is killed, perhaps, before it has begun
                streamed.wait_for("streaming from")
        if victim == "server":
            clients.join()
            streamed.server.kill()
            streamed.server.start()
            clients.go_on(streamed.dsn)
    clients.join()
    streamed.write()
    streamed.wait_archived_to(streamed.current().number - 1, seconds=60)
    assert streamed.stop() == 0

    restored = streamed.restore("--to", "latest")

    assert streamed.is_contiguous()
    assert streamed.gaps() == ()
    for load in clients.loads:
        held = {int(str(number)) for (number,) in restored.sql(f"SELECT number FROM {load.table}")}
        assert held >= {number for number, _ in load.acknowledged}
