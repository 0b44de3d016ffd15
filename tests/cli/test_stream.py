from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.cli.streaming import apply_options
from pgvault.config import StreamConfig
from pgvault.errors import UsageError
from pgvault.process import attempt
from tests.archive import ROOT

CONFIGURED = StreamConfig(slot="ours", every=timedelta(seconds=5), beacon=timedelta(seconds=10))


def test_configuration_holds_where_nothing_is_said() -> None:
    """Options that are not given leave the configuration as it is."""
    assert apply_options(CONFIGURED, {"every": None, "beacon": None, "slot": None}) == CONFIGURED


def test_options_win() -> None:
    """What the command line says wins; `off` ends the beacon."""
    found = apply_options(CONFIGURED, {"every": "2s", "beacon": "off", "spool": "/srv/wal", "on_gap": "record"})

    assert found == StreamConfig(
        slot="ours", every=timedelta(seconds=2), beacon=None, spool=Path("/srv/wal"), on_gap="record"
    )


@pytest.mark.parametrize(("name", "value"), [("every", "15"), ("slot", "No Slot"), ("beacon", "never")])
def test_nonsense(name: str, value: str) -> None:
    """A value that means nothing names its option."""
    with pytest.raises(UsageError, match=f"--{name}"):
        apply_options(CONFIGURED, {name: value})


HANGING = """
import os, signal, time
from pgvault.cli.signals import setting_on_signals
from pgvault.cli.streaming import LEFT_BEHIND
with setting_on_signals(otherwise=LEFT_BEHIND, grace_seconds=0.2) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.is_set()
    time.sleep(60)
"""


def test_end_does_not_wait_for_ever() -> None:
    """A store that does not answer can not keep the stream from ending, with 0."""
    started = time.monotonic()

    finished = attempt([sys.executable, "-c", HANGING], timeout=30, env={"PYTHONPATH": str(ROOT)})

    assert finished.status == 0
    assert "what was received is in the spool" in finished.errors
    assert time.monotonic() - started < 20
