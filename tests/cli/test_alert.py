"""`pgvault alert` where the usual things are not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgvault.cli.alert import make_notifier
from pgvault.config import parse_config

if TYPE_CHECKING:
    import pytest

DOCUMENT = {
    "repository": {"key": "file:/nowhere/key", "copies": {"primary": {"url": "file:///nowhere"}}},
    "clusters": {"main": {"dsn": "host=/nowhere"}},
    "alerts": {"receivers": {"slack": {"webhook": "http://127.0.0.1:9/hook"}}},
}


def test_who_has_no_home_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a name and a home, as in a container: a notifier without a memory, and not none."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for asked in ("geteuid", "getuid"):
        monkeypatch.setattr(os, asked, lambda: 2**31 - 7)

    assert list(make_notifier(parse_config(DOCUMENT, where="test")).receivers) == ["slack"]
