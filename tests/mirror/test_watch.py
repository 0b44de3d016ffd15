from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread

import pytest

from pgvault.mirror.facts import Settled, read_facts
from pgvault.mirror.plan import Lane, plan_copy
from pgvault.mirror.watch import watch_copies
from pgvault.repository import layout
from tests.fakes import MemoryStore
from tests.mirror.vaults import LABELS, Vault, segment, wal_path

SOON = 10.0  # seconds


def wait_for(claim: Callable[[], bool]) -> None:
    """Wait until a claim holds, or fail."""
    end = time.monotonic() + SOON
    while not claim():
        if time.monotonic() > end:
            pytest.fail("it did not come about")
        time.sleep(0.005)


def wait_for_calls(store: MemoryStore, count: int) -> None:
    """Wait until a store was asked so many times more."""
    before = len(store.calls)
    wait_for(lambda: len(store.calls) > before + count)


def test_a_watch_survives_outages_and_says_each_once(caplog: pytest.LogCaptureFixture) -> None:
    """Away is said once, back is said once; what was pushed meanwhile is there, and it ends when it is told to."""
    caplog.set_level(logging.INFO, "pgvault.mirror.watch")
    vault = Vault()
    vault.fill()
    stop = Event()
    order = replace(vault.order(), stop=stop)
    thread = Thread(target=watch_copies, args=(order,), kwargs={"every": timedelta(milliseconds=1)}, daemon=True)
    thread.start()
    wait_for(lambda: vault.dr.objects == vault.primary.objects)

    for number in (7, 8):
        vault.dr.fail_after_calls = 0
        wait_for(lambda: "can not be brought" in caplog.text)
        vault.push(number)
        wait_for_calls(vault.dr, 20)
        assert wal_path(number) not in vault.dr.objects
        vault.dr.fail_after_calls = None
        wait_for(lambda: vault.dr.objects == vault.primary.objects)
        wait_for(lambda: "up to date again" in caplog.text)
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [("can not" in each, "again" in each) for each in said] == [(True, False), (False, True)]
        caplog.clear()

    stop.set()
    thread.join(SOON)
    assert not thread.is_alive()


def test_a_target_that_lost_its_disk_is_not_begun_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Below an empty mount point a copy would fill the wrong disk."""
    vault = Vault()
    vault.fill()
    stop = Event()
    order = replace(vault.order(), stop=stop)
    thread = Thread(target=watch_copies, args=(order,), kwargs={"every": timedelta(milliseconds=1)}, daemon=True)
    thread.start()
    wait_for(lambda: vault.dr.objects == vault.primary.objects)
    wait_for_calls(vault.dr, 20)  # both lanes have been through

    vault.dr.objects = {}
    wait_for(lambda: "holds no repository" in caplog.text)
    stop.set()
    thread.join(SOON)
    assert vault.dr.objects == {}


def test_what_is_settled_is_not_listed_again() -> None:
    """A watch asks for the last directories of a timeline, and the last labels; from time to time for all."""
    now = [0.0]
    settled = Settled(monotonic=lambda: now[0], seconds=60)
    vault = Vault()
    vault.fill()
    far = [4096 * n + 1 for n in range(1, 6)]  # segments of 1 MiB: 4 GiB a directory
    vault.push(*far)
    vault.copy()
    source, target = vault.both.copies

    def listed() -> set[str]:
        vault.dr.calls.clear()
        read_facts(source, target, Lane.WAL, settled=settled)
        return {key.rpartition("/")[2] for verb, key in vault.dr.calls if verb == "list"}

    everything = {segment(number).name[:16] for number in (1, *far)}
    assert listed() == everything
    assert listed() == {segment(number).name[:16] for number in far[-3:]}
    now[0] = 61.0
    assert listed() == everything


def test_a_directory_that_differs_is_not_settled() -> None:
    """However old it is."""
    settled = Settled(monotonic=lambda: 0.0)
    vault = Vault()
    vault.fill()
    vault.push(*(4096 * n + 1 for n in range(1, 6)))
    vault.copy()
    del vault.dr.objects[wal_path(2)]
    source, target = vault.both.copies

    for _ in range(2):
        plan = plan_copy(Lane.WAL, read_facts(source, target, Lane.WAL, settled=settled))
        assert [transfer.path for transfer in plan.transfers] == [wal_path(2)]


def test_a_backup_may_need_what_is_settled() -> None:
    """Objects in places that are passed over count as there, once they were asked for."""
    settled = Settled(monotonic=lambda: 0.0)
    vault = Vault()
    vault.fill()
    for number in range(3, 8):
        vault.store_backup(f"20260115T10{number}000Z-0000", wal=(1,))
    vault.copy()
    source, target = vault.both.copies
    read_facts(source, target, Lane.BACKUPS, settled=settled)

    last = "20260115T109000Z-0000"
    vault.store_backup(last, wal=(1,), also=(layout.pack("main", LABELS[0], 1),))
    plan = plan_copy(Lane.BACKUPS, read_facts(source, target, Lane.BACKUPS, settled=settled))

    assert plan.problems == ()
    assert {transfer.path.split("/")[3] for transfer in plan.transfers} == {last}
