"""The runbook: every command in it is one that pgvault takes, and what is not known is said."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

import pytest
import typer

from pgvault.cli.app import app
from pgvault.config import Config, parse_config
from pgvault.keyring.documents import SlotSummary
from pgvault.keyring.listing import KeyListing
from pgvault.runbook.document import write_runbook
from pgvault.runbook.facts import ClusterFacts, Facts, Window

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
CLUSTER: dict[str, Any] = {
    "dsn": "host=/run/postgresql dbname=shop",
    "objectives": {"rto": "4h", "rpo": "15m", "success_rate": "99.9%"},
    "schedule": {"backup": "daily"},
    "classes": {"critical": {"tables": ["public.accounts"], "priority": 1, "rto": "1h", "rpo": "15m"}},
    "retention": {"days": 30},
    "checks": [{"name": "orphans", "query": "SELECT 0"}],
}
LOGICAL = {"dsn": "host=db.example dbname=crm", "source": "logical"}
COPIES = {
    "primary": {"url": "s3://backups-eu/pgvault", "region": "eu-central-1"},
    "dr": {"url": "s3://backups-us/pgvault", "region": "us-east-1", "object_lock": {"days": 30}},
}
ONE = {"primary": {"url": "file:///srv/pgvault"}}
DRILL = {
    "id": "20260110T050000Z-9c41",
    "started_at": "2026-01-10T05:00:00+00:00",
    "target": "latest",
    "rto_seconds": 754.0,
    "rpo_seconds": 61.5,
    "phases": {"fetch": 400.0},
    "backup": "20260110T010000Z-aaaa",
    "key": {"escrow": True},
}


def make_facts(copies: dict[str, Any], **known: Any) -> Facts:
    document = {
        "repository": {"key": "file:/etc/pgvault/key", "copies": copies},
        "clusters": {"main": CLUSTER, "crm": LOGICAL},
        "timezone": "Europe/Paris",
    }
    config: Config = parse_config(json.loads(json.dumps(document)), where="test")
    clusters = tuple(ClusterFacts(name, each, **known) for name, each in config.clusters.items())
    return Facts(NOW, "0.7.0", Path("/etc/pgvault/pgvault.yaml"), config, clusters)


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command of pgvault that can be pasted, the variables as they are set above it."""
    values: dict[str, str] = {}
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if found := re.fullmatch(r"([A-Z]+)=(.*)", line):
                (values[found[1]],) = shlex.split(found[2], comments=True)
            elif line.startswith("pgvault"):
                yield shlex.split(Template(line).substitute(values), comments=True)[1:]
    for line in re.findall(r"`pgvault ([^`]*)`", text):
        yield shlex.split(line)


def parse(words: list[str]) -> None:
    """Let pgvault's own parser read a command line; nothing is run."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("pgvault", list(words))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("copies", [COPIES, ONE], ids=["two", "one"])
def test_every_command_is_one_that_pgvault_takes(copies: dict[str, Any]) -> None:
    """A flag that is renamed breaks this test, and not the restore on the bad day."""
    found = list(commands(write_runbook(make_facts(copies))))

    for words in found:
        parse(words)
    assert {words[0] for words in found} >= {
        "backup",
        "check",
        "checks",
        "copy",
        "drill",
        "drills",
        "extract",
        "hold",
        "key",
        "list",
        "release",
        "restore",
        "status",
        "undelete",
        "verify",
    }


def test_a_wrong_command_is_found() -> None:
    """The test above could be red."""
    with pytest.raises(Exception, match="No such option"):
        parse(["restore", "--too", "latest"])


def test_it_tells_what_is_known() -> None:
    """Measured times, moments, slots, promises; by whom a class is wanted first."""
    window = Window(NOW.replace(day=1), NOW, 1)
    known = make_facts(COPIES, drill=DRILL, windows=(window,))
    slots = (SlotSummary("raw-1", "raw", "2026-01-01T00:00:00+00:00", (1,), ""),)
    keys = KeyListing((), slots, ("raw-1",), ())
    text = write_runbook(Facts(NOW, "0.7.0", known.config_file, known.config, known.clusters, keys, (NOW,)))

    assert "| last drill that passed | 2026-01-10T05:00:00+00:00, `20260110T050000Z-9c41`, latest |" in text
    assert "| RTO | 12 min |" in text
    assert "timeline 1, 2026-01-01 10:30:00+00:00 to at least 2026-01-15 10:30:00+00:00" in text
    assert "| raw-1 | raw | 2026-01-01T00:00:00+00:00 | this configuration |" in text
    assert "last exported at 2026-01-15 10:30:00+00:00. It was proven for main by drill" in text
    assert "| critical | 1 | 1 h 00 min | 15 min | public.accounts |" in text
    assert "| scheduled backups that succeed | 99.90% |" in text


def test_it_says_what_is_not_known() -> None:
    """Without the repository there is a runbook all the same; nothing is claimed."""
    facts = make_facts(ONE)
    text = write_runbook(Facts(NOW, "0.7.0", facts.config_file, facts.config, facts.clusters, unread=("no answer",)))

    assert "Not everything could be read" in text
    assert "* no answer" in text
    assert "No drill that passed is known" in text
    assert "Slots: not known" in text
    assert "When an escrow sheet was exported is not known" in text
    assert "**There is one copy only (`primary`)." in text


def test_cells_can_not_break_the_table() -> None:
    """A name with a bar in it stays in its cell."""
    facts = make_facts(ONE, drill={**DRILL, "target": "a|b"})

    assert "a\\|b" in write_runbook(facts)


@pytest.mark.parametrize("source", ["main", "crm"])
def test_no_procedure_stands_in_the_way_of_another(source: str) -> None:
    """A directory that is taken is refused: each restore has one of its own, that from each copy, too."""
    found = commands(write_runbook(make_facts(COPIES | {"far": {"url": "s3://backups-ap/pgvault"}})))
    restores = [words for words in found if words[0] == "restore" and "--dry-run" not in words]

    places = [word for words in restores if source in words for word in words if word.startswith("/srv/")]

    assert len(places) == len(set(places)) > 2
