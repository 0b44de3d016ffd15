"""Which databases are dumped: a pure choice."""

from __future__ import annotations

from typing import Any

import pytest

from pgvault.errors import ServerUnfit, UsageError
from pgvault.logical.databases import FoundDatabase, choose_databases
from pgvault.logical.request import LogicalRequest
from pgvault.logical.select import RankedClass


def found(name: str, *, takes_connections: bool = True, is_ours: bool = True) -> FoundDatabase:
    return FoundDatabase(16384, name, "UTF8", takes_connections, is_ours)


SERVER = [
    found("postgres"),
    found("template1"),
    found("template0", takes_connections=False),
    found("shop"),
    found("shop_test"),
    found("rdsadmin", is_ours=False),
    found("half dropped", takes_connections=False),
]


def choose(server: list[FoundDatabase], **changes: Any) -> list[str]:
    return [each.name for each in choose_databases(server, LogicalRequest("main", "", None, **changes))]


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, ["postgres", "shop", "shop_test"]),
        ({"exclude": ("shop*",)}, ["postgres"]),
        ({"databases": ("shop", "postgres")}, ["postgres", "shop"]),
        ({"databases": ("template1",)}, ["template1"]),
        ({"data_class": RankedClass("vital", 1, (), ("shop*",))}, ["shop", "shop_test"]),
    ],
)
def test_who_is_chosen(changes: dict[str, Any], chosen: list[str]) -> None:
    """All that hold something of ours, unless named, excluded or limited by a class."""
    assert choose(SERVER, **changes) == chosen


def test_what_we_may_not_connect_to_is_never_left_out_in_silence() -> None:
    """A provider's own database is; any other is an error that names it."""
    with pytest.raises(ServerUnfit, match="may not connect to database 'secret'") as caught:
        choose([*SERVER, found("secret", is_ours=False)])

    assert "logical.exclude" in str(caught.value.hint)
    assert choose([*SERVER, found("secret", is_ours=False)], exclude=("secret",)) == choose(SERVER)


@pytest.mark.parametrize("name", ["nowhere", "template0", "half dropped", "SHOP"])
def test_a_name_that_can_not_be_dumped(name: str) -> None:
    """Is an error, with the names there are."""
    with pytest.raises(UsageError, match="has no database") as caught:
        choose(SERVER, databases=(name,))

    assert "shop" in str(caught.value.hint)


def test_a_choice_of_nothing() -> None:
    """Is not an empty backup."""
    with pytest.raises(UsageError, match="no database to dump"):
        choose(SERVER, exclude=("*",))
