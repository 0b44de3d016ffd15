"""The line of pg_hba.conf that is printed fits the way that the dsn takes."""

from __future__ import annotations

import pytest

from pgvault.postgres.grants import replication_line


@pytest.mark.parametrize(
    ("host", "sslmode", "line"),
    [
        ("", "", 'local replication "r" peer'),
        ("/run/postgresql", "require", 'local replication "r" peer'),
        ("localhost", "", 'host replication "r" samehost scram-sha-256'),
        ("db1,db2", "prefer", 'host replication "r" ADDRESS scram-sha-256'),
        ("db", "verify-full", 'hostssl replication "r" ADDRESS scram-sha-256'),
    ],
)
def test_the_line_is_of_the_way_that_the_dsn_takes(host: str, sslmode: str, line: str) -> None:
    """A socket, the server's own host, another one, and one that wants TLS."""
    assert replication_line("r", host=host, sslmode=sslmode) == line


def test_a_socket_with_a_password_is_not_peer() -> None:
    """The operating system's user need not be called as the role."""
    assert replication_line('o"d', has_password=True) == 'local replication "o""d" scram-sha-256'
