"""Names of a search path are read as the server reads them."""

from __future__ import annotations

import pytest

from pgvault.drill.meaning import split_names


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ('"$user", public', ["$user", "public"]),
        ("Shop,public", ["shop", "public"]),
        ('"a""b", "C, d"', ['a"b', "C, d"]),
        ('""', []),
        ("", []),
    ],
)
def test_names_are_split_where_the_server_splits_them(setting: str, names: list[str]) -> None:
    """Quotes keep what is in them; all else is folded."""
    assert split_names(setting) == names
