from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.cli.streaming import apply_options
from pgvault.config import StreamConfig
from pgvault.errors import UsageError

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
