"""--help of every command: what it says, and that what it says can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from pgvault.cli.app import COMMANDS, app
from pgvault.cli.tree import EXAMPLE, HEADING, LazyGroup, load, set_examples_apart, summary
from tests.cli.here import pgvault

WIDTH = 78  # of a line on a terminal of 80 columns: an example that is wrapped can not be copied
STOPS = (">", "|", "&&", ";")  # where a shell's line ends being ours


def whole_tree() -> Iterator[tuple[str, Any]]:
    """Yield every command and group by its words, the program itself first."""
    yield "pgvault", typer.main.get_command(app)
    for name, place in COMMANDS.items():
        yield from below(f"pgvault {name}", load(name, place))


def below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from below(f"{words} {name}", each)


TREE = dict(whole_tree())


def examples(command: Any) -> list[str]:
    heading, *lines = (command.epilog or HEADING).split("\n\n")
    assert heading == HEADING
    return [line.replace(r"\[", "[") for line in lines]


def command_of(line: str) -> str:
    """Let pgvault's own parser read a line, run nothing, and return the words of the command that would run."""
    program, *words = shlex.split(line, comments=True)
    assert program == "pgvault"
    words = words[: next((at for at, word in enumerate(words) if word in STOPS), len(words))]
    command: Any = TREE["pgvault"]
    context = command.make_context("pgvault", words)
    path = ["pgvault"]
    while isinstance(command, TyperGroup) and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        assert name is not None
        path.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(path)


def test_the_tree_is_all_of_it() -> None:
    """A walk that found nothing would prove nothing."""
    assert {f"pgvault {name}" for name in COMMANDS} < TREE.keys()
    assert {"pgvault wal push", "pgvault key export", "pgvault metrics serve", "pgvault checks compare"} < TREE.keys()


@pytest.mark.parametrize("words", TREE)
def test_every_command_has_examples_that_it_takes(words: str) -> None:
    """Each is parsed as that very command, so that a renamed option breaks this test and nobody's evening."""
    lines = examples(TREE[words])

    assert lines, f"{words} has no line `Example: {words} …` in its docstring"
    for line in lines:
        found = command_of(line)
        is_group = isinstance(TREE[words], TyperGroup)
        assert found == words or (is_group and found.startswith(words)), line
        assert len(line) <= WIDTH


@pytest.mark.parametrize("line", ["pgvault list --nope", "pgvault wal psuh x", "pgvault show", "pgvault nope"])
def test_an_example_that_is_wrong_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"No such (option|command)|Missing"):
        command_of(line)


def test_examples_stand_at_the_end_line_by_line() -> None:
    """As they can be pasted, brackets and all."""
    command = typer.core.TyperCommand("shop", help="Sell.\n\nExample: shop a[1]\nExample: shop b")

    set_examples_apart(command)

    assert command.help == "Sell."
    assert examples(command) == ["shop a[1]", "shop b"]


def test_help_shows_them() -> None:
    """Also below a group."""
    shown = pgvault("key", "export", "--help").output

    assert shown.index(HEADING) > shown.index("Options")
    assert " pgvault key export --out /media/usb/escrow.txt " in shown.rstrip().splitlines()[-1] + " "


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_said_without_importing_is_what_the_command_says(name: str) -> None:
    """The source is read as typer reads the module."""
    text = EXAMPLE.sub("", load(name, COMMANDS[name]).help).strip()

    assert summary(name, COMMANDS[name]) == text.partition("\n\n")[0] != ""


def test_the_program_names_its_commands_without_importing_them() -> None:
    """So --help and completion are quick: no command's module, and nothing that only commands need."""
    group = TREE["pgvault"]

    assert isinstance(group, LazyGroup)
    assert [group.get_command(None, name).name for name in group.places] == list(COMMANDS)
    assert group.get_command(None, "nope") is None


def test_a_misspelt_command_is_answered_by_the_one_that_was_meant() -> None:
    """Also on the first level, where commands are not imported."""
    finished = pgvault("statsu")

    assert finished.status == 2
    assert "Did you mean 'status'?" in finished.errors
