"""What the shells offer: through their own protocol, and once through a real bash."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pgvault.cli.app import COMMANDS
from pgvault.process import attempt
from pgvault.repository import layout
from tests.archive import Archive
from tests.cli.here import pgvault

Offer = Callable[[str], list[str]]

LABELS = ["20260116T103000Z-f7c2", "20260115T103000Z-f7c2"]


@pytest.fixture
def configured(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A repository in a directory, with the places of two backups, named by the environment."""
    monkeypatch.setenv("PGVAULT_CONFIG", str(archive.config))
    for label in LABELS:
        (archive.root / layout.backup("main", label)).mkdir(parents=True)
    return archive


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Ask as bash does, with the cursor at the end of the line."""

    def ask(line: str) -> list[str]:
        words = shlex.split(line) + [""] * line.endswith(" ")
        monkeypatch.setenv("_PGVAULT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        finished = pgvault()
        assert (finished.status, finished.errors) == (0, "")
        return finished.output.split()

    return ask


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pgvault re", ["report", "restore", "release"]),
        ("pgvault key ", ["list", "add", "remove", "rotate", "export"]),
        ("pgvault metrics s", ["serve"]),
        ("pgvault status --br", ["--brief"]),
        ("pgvault wal list --mis", ["--missing"]),
        ("pgvault status --cluster ", ["main"]),
        ("pgvault status --cluster x", []),
        ("pgvault wal push --cluster m", ["main"]),
        ("pgvault copy --copy ", ["primary"]),
        ("pgvault list --only-copy p", ["primary"]),
        ("pgvault show ", LABELS),
        ("pgvault show 20260115", LABELS[1:]),
        ("pgvault show --cluster other ", []),
        ("pgvault delete 20260116T103000Z-f7c2 2026", LABELS),
        ("pgvault drill --backup 20260116", LABELS[:1]),
        ("pgvault drill --isolation s", ["sandbox"]),
    ],
)
def test_commands_options_and_names_are_offered(
    configured: Archive, offer: Offer, line: str, offered: list[str]
) -> None:
    """Names of clusters and copies out of the configuration, labels out of a repository on this host."""
    assert offer(line) == offered


@pytest.mark.usefixtures("configured")
def test_the_first_word_may_be_any_command(offer: Offer) -> None:
    """In the order of --help, though none is imported for it."""
    assert offer("pgvault ") == list(COMMANDS)


def test_the_configuration_on_the_line_counts(
    configured: Archive, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it will when the line is run; before the command or behind it."""
    monkeypatch.delenv("PGVAULT_CONFIG")

    assert offer(f"pgvault --config {configured.config} status --cluster ") == ["main"]
    assert offer(f"pgvault status --config {configured.config} --cluster ") == ["main"]


@pytest.mark.parametrize("content", ["", "clusters: [", "repository: {}", None])
def test_where_the_configuration_is_broken_nothing_is_offered(
    tmp_path: Path, offer: Offer, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """And nothing is said: a shell would print it into the line that is being typed."""
    config = tmp_path / "pgvault.yaml"
    if content is not None:
        config.write_text(content)
    monkeypatch.setenv("PGVAULT_CONFIG", str(config))

    assert offer("pgvault status --cluster ") == []
    assert offer("pgvault show ") == []
    assert offer("pgvault copy --copy ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What --show-completion prints in that shell."""
    monkeypatch.setenv("_PGVAULT_COMPLETE", f"source_{shell}")

    finished = pgvault()

    assert finished.status == 0
    assert f"_PGVAULT_COMPLETE=complete_{shell}" in finished.output


@pytest.mark.usefixtures("configured")
@pytest.mark.endurance
def test_the_script_completes_in_a_real_bash(tmp_path: Path) -> None:
    """The function that the script defines, asked as readline asks it."""
    program = tmp_path / "pgvault"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pgvault "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(_PGVAULT_COMPLETE=source_bash pgvault)"
        COMP_WORDS=(pgvault status --cluster "") COMP_CWORD=3
        $(complete -p pgvault | sed 's/.*-F \\([^ ]*\\) .*/\\1/') pgvault
        echo "${COMPREPLY[*]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    finished = attempt(["bash", "--norc", "-c", script], timeout=60, env=environment)

    assert (finished.status, finished.output) == (0, "main\n")
