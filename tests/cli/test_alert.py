"""`pgvault alert` where the usual things are not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pgvault.cli.alert import make_notifier, read_anew
from pgvault.cli.opening import RepositorySource
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


def test_a_watch_goes_by_what_the_configuration_says_now(tmp_path: Path) -> None:
    """An added cluster is watched without a restart; a file that broke leaves what it said before."""
    path = tmp_path / "pgvault.yaml"
    path.write_text(json.dumps(DOCUMENT))
    source = RepositorySource(config=path)
    loaded = source.load()
    notifier = make_notifier(loaded)
    assert read_anew(source, loaded, notifier) == (loaded, notifier)

    path.write_text(json.dumps({**DOCUMENT, "clusters": {"main": {"dsn": ""}, "other": {"dsn": ""}}}))
    grown, anew = read_anew(source, loaded, notifier)
    path.write_text("clusters: [")

    assert list(grown.clusters) == ["main", "other"]
    assert anew is not notifier
    assert read_anew(source, grown, anew) == (grown, anew)
