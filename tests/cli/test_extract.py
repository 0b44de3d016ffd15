from __future__ import annotations

import pytest

from pgvault.cli.extract import split_names
from pgvault.errors import UsageError
from tests.archive import pgvault


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["orders"], ["orders"]),
        (["public.orders, items", "more"], ["public.orders", "items", "more"]),
        (['"a,b".c,d'], ['"a,b".c', "d"]),
        (['"a""," ,b'], ['"a"","', "b"]),
        ([], []),
    ],
)
def test_names_are_split_at_commas_outside_of_quotes(given: list[str], names: list[str]) -> None:
    """As SQL would read them."""
    assert split_names(given) == names


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "say --into or --file, one of them"),
        (("--into", "host=/x", "--file", "y"), "say --into or --file, one of them"),
        (("--file", "y", "--as", "z"), "--as goes with --into"),
        (("--into", "host=/x password=y"), "--into holds a password"),
    ],
)
def test_one_destination(words: tuple[str, ...], why: str) -> None:
    """Told before the repository is opened."""
    finished = pgvault("extract", "--table", "orders", *words)

    assert (finished.status, why in finished.errors) == (UsageError.exit_code, True), finished.errors
