"""The error tree is said three times, in classes, in its docstring and in the README; the three agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault import errors
from pgvault.errors import WAL_ABSENT_EXIT, PgvaultError

README = Path(__file__).resolve().parent.parent / "README.md"
ARCHIVER_FAILURE_MAX = 125  # PostgreSQL's archiver takes a higher status for a signal

TREE_LINE = re.compile(
    r"^    (?P<indent>[ │]*)(?:[├└]── )?(?P<name>[A-Z]\w+) +(?P<code>\d+) +(?P<meaning>.+)$", re.MULTILINE
)
TABLE_LINE = re.compile(r"^\| *(?P<code>\d+) *\| *`(?P<name>[A-Z]\w+)` *\| *(?P<meaning>.+?) *\|$", re.MULTILINE)


def tree_of_classes(parent: type[PgvaultError]) -> Iterator[type[PgvaultError]]:
    """Yield a class and all below it."""
    yield parent
    for child in parent.__subclasses__():
        yield from tree_of_classes(child)


CLASSES = list(tree_of_classes(PgvaultError))
DRAWN = list(TREE_LINE.finditer(errors.__doc__ or ""))


def test_exit_codes_are_unique() -> None:
    """A status names one error, and none of them is the private status of `wal fetch`."""
    codes = [error.exit_code for error in CLASSES]

    assert sorted({*codes, WAL_ABSENT_EXIT}) == sorted([*codes, WAL_ABSENT_EXIT])


@pytest.mark.parametrize("error", CLASSES)
def test_exit_code_is_a_failure_that_the_archiver_counts(error: type[PgvaultError]) -> None:
    """1 to 125: never success, never taken for a signal; and each class says its own."""
    assert 1 <= error.exit_code <= ARCHIVER_FAILURE_MAX
    assert "exit_code" in vars(error)


@pytest.mark.parametrize("error", CLASSES)
def test_error_carries_its_message_and_hint(error: type[PgvaultError]) -> None:
    """What was said comes out again, and a hint is never required."""
    assert str(error("cluster 'main' is gone")) == "cluster 'main' is gone"
    assert error("cluster 'main' is gone").hint is None
    assert error("cluster 'main' is gone", hint="Look for it.").hint == "Look for it."


def test_docstring_draws_the_tree() -> None:
    """The drawing names every class, with its exit code, under its parent."""
    drawn: dict[str, tuple[int, str]] = {}
    parents: list[str] = []
    for line in DRAWN:
        depth = 0 if line["name"] == "PgvaultError" else len(line["indent"]) // 4 + 1
        del parents[depth:]
        drawn[line["name"]] = (int(line["code"]), parents[-1] if parents else "Exception")
        parents.append(line["name"])

    assert drawn == {error.__name__: (error.exit_code, error.__bases__[0].__name__) for error in CLASSES}
    assert len(DRAWN) == len(CLASSES)


def test_readme_lists_the_same_exit_codes() -> None:
    """The README's table says what the drawing says, in the same words and order."""
    table = [(int(row["code"]), row["name"], row["meaning"]) for row in TABLE_LINE.finditer(README.read_text())]

    assert table == [(int(line["code"]), line["name"], line["meaning"]) for line in DRAWN]


def test_readme_names_the_private_status_of_wal_fetch() -> None:
    """The one status without an error class is explained too."""
    assert re.search(rf"^\| *{WAL_ABSENT_EXIT} *\|.*`pgvault wal fetch`", README.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("mian", "Did you mean 'main'? "),
        ("MAIN", "Did you mean 'main'? "),
        ("shop2", "Did you mean 'shop'? "),
        ("x", ""),
    ],
)
def test_what_was_meant_is_said_where_something_is_near(wrong: str, said: str) -> None:
    """And nothing is guessed where nothing is."""
    assert errors.did_you_mean(wrong, ["main", "shop"]) == said
