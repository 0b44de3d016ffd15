"""How commands are found: a module is imported when its command is run, and not to name it.

    pgvault --help, pgvault <TAB>     names, and the first paragraph of each docstring, read from the source
    pgvault backup …                  imports pgvault.cli.backup, and what that needs

A docstring ends with lines `Example: pgvault …`. They become a block of their own at the end of --help, a command a
line, as it can be pasted.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

EXAMPLE = re.compile(r"^Example: (.+)$", re.MULTILINE)
HEADING = "Examples:"


class LazyGroup(TyperGroup):
    """A group that imports a command when it is run; a subclass says in `places` where commands are."""

    places: Mapping[str, str] = {}  # name: "module:object", in the order in which --help shows them

    def __init__(self, **attributes: Any) -> None:
        """Set its own examples apart; typer looks for misspelt names among `commands`."""
        super().__init__(**attributes)
        self.commands: Any = dict.fromkeys(self.places)
        set_examples_apart(self)

    # typer brings its own click or uses the one that is installed: Any is what both have in common.
    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  click's signature
        """Return what can be said of a command without importing it; None when there is none of that name."""
        if cmd_name not in self.places:
            return None
        return TyperCommand(cmd_name, help=summary(cmd_name, self.places[cmd_name]))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is to run."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, None if found is None or name is None else load(name, self.places[name]), rest


def load(name: str, place: str) -> Any:
    """Import a command, or a group of them, with its examples set apart."""
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    set_examples_apart(command)
    return command


def set_examples_apart(command: Any) -> None:
    """Move the examples of a command, and of those below it, from its text to the end of its help."""
    text = command.help or ""
    if found := EXAMPLE.findall(text):
        command.help = EXAMPLE.sub("", text).strip()
        escaped = (example.replace("[", r"\[") for example in found)  # rich takes brackets for its own
        command.epilog = "\n\n".join([HEADING, *escaped])
    for below in getattr(command, "commands", {}).values():
        if below is not None:
            set_examples_apart(below)


def summary(name: str, place: str) -> str:
    """Return the first paragraph of what a command says of itself, from the source of its module.

    Of a function its docstring, of a typer.Typer its help=, else the docstring of its callback or of the command.
    """
    module, _, attribute = place.partition(":")
    spec = importlib.util.find_spec(module)
    source = None if spec is None or spec.loader is None else spec.loader.get_source(module)  # type: ignore[attr-defined]
    texts = dict(_texts(ast.parse(source or "")))
    text = texts.get(attribute) or texts.get(f"{attribute}.callback") or texts.get(name) or ""
    return cleandoc(text).partition("\n\n")[0]


def _texts(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what the functions and typer.Typers of a module say of themselves, by name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            yield node.name, text
            yield from ((ast.unparse(each.func), text) for each in node.decorator_list if isinstance(each, ast.Call))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            said = [each.value for each in node.value.keywords if each.arg == "help"]
            if said and isinstance(said[0], ast.Constant):
                yield ast.unparse(node.targets[0]), str(said[0].value)
