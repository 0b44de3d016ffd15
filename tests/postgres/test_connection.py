from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import conninfo

from pgvault.errors import ConfigInvalid, ServerUnfit, ServerUnreachable
from pgvault.postgres import connection as module
from pgvault.postgres.connection import Connection
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster


class Relay:
    """A TCP port in front of a server's socket; it can change the backend's process id, as a pooler does."""

    def __init__(self, server: Server, *, hides_pid: bool = False) -> None:
        self._target = str(server.instance.socket_dir / f".s.PGSQL.{server.instance.port}")
        self._hides_pid = hides_pid
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def _serve(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        backend = socket.socket(socket.AF_UNIX)
        backend.connect(self._target)
        self._sockets += [client, backend]
        threading.Thread(target=self._pump, args=(client, backend), daemon=True).start()
        self._pump(backend, client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while received := source.recv(65536):
                if self._hides_pid and (at := received.find(b"K\0\0\0\x0c")) >= 0:
                    received = received[: at + 5] + b"\0\0\0\1" + received[at + 9 :]
                sink.sendall(received)
        except OSError:
            return


@pytest.fixture
def one(server: ServerFactory) -> Server:
    return server(NEWEST)


@pytest.fixture
def pooler(one: Server) -> Iterator[Relay]:
    relay = Relay(one, hides_pid=True)
    yield relay
    relay.close()


def test_a_pooler_is_refused(one: Server, pooler: Relay) -> None:
    """A backup lives in one session; behind a pooler the next statement may run in another."""
    dsn = conninfo.make_conninfo(one.dsn, host="127.0.0.1", port=pooler.port, sslmode="disable")

    with pytest.raises(ServerUnfit, match="a connection pooler stands between"):
        Connection(dsn)


def test_nobody_there_is_unreachable(server: ServerFactory) -> None:
    """No server behind the socket: one sentence with the address, from libpq."""
    place = server.directory()

    with pytest.raises(ServerUnreachable, match=rf"^PostgreSQL can not be reached: .*{place}/.*No such") as caught:
        Connection(f"host={place} dbname=postgres")

    assert "\n" not in str(caught.value)


def test_a_wrong_database_is_unreachable(one: Server) -> None:
    """The server's own refusal is quoted."""
    with pytest.raises(ServerUnreachable, match='database "nowhere" does not exist'):
        Connection(one.dsn_of("postgres", "nowhere"))


def test_a_meaningless_dsn_is_not_quoted() -> None:
    """It may hold a password, so the error shows nothing of it, nor does what raised it."""
    with pytest.raises(ConfigInvalid, match="the dsn is neither") as caught:
        Connection("host=x geheim passwort")

    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_password_is_kept_to_itself(server: ServerFactory) -> None:
    """It opens the session when the server asks, and a wrong one appears in no message."""
    one = server(NEWEST)
    one.sql("CREATE ROLE guarded LOGIN PASSWORD 'right one'")
    (one.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    one.restart()

    with Connection(one.dsn_of("guarded"), password="right one") as connection:
        connection.ping()
    with pytest.raises(ServerUnreachable, match="password authentication failed") as caught:
        Connection(one.dsn_of("guarded"), password="wrong one")

    assert "wrong one" not in repr(caught.value)


def test_the_dsn_wins_over_our_defaults(one: Server) -> None:
    """An operator who sets keepalives or a name means it; the encoding is not for choosing."""
    with Connection(one.dsn + " application_name=mine client_encoding=UTF8") as connection:
        (name,) = connection.row("SELECT current_setting('application_name')")
        (encoding,) = connection.row("SELECT current_setting('client_encoding')")

    assert (name, encoding) == (b"mine", b"SQL_ASCII")


def test_notices_go_to_the_log(
    one: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the server remarks is for the debug log, never for the terminal."""
    with caplog.at_level(logging.DEBUG, logger=module.__name__), Connection(one.dsn) as connection:
        connection.row("SELECT set_config('search_path', 'pg_catalog', false)")
        connection._connection.execute("DO $$ BEGIN RAISE WARNING 'beware'; END $$")

    assert "server: beware" in caplog.messages
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_open(one: Server, pooler: Relay) -> None:
    """A connection that is refused after it was made is closed, too: a forgotten one would warn when collected."""
    dsn = conninfo.make_conninfo(one.dsn, host="127.0.0.1", port=pooler.port, sslmode="disable")
    with pytest.raises(ServerUnfit):
        Connection(dsn)
    gc.collect()

    for _ in range(100):
        if one.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvault'") == 0:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the session is still there")


def test_other_names_than_ours_do_not_hide_the_catalog(one: Server) -> None:
    """A function of somebody's search_path is never called instead of PostgreSQL's."""
    one.sql("CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    one.sql("ALTER ROLE postgres SET search_path = public, pg_catalog")

    with Connection(one.dsn) as connection:
        assert connection.row("SELECT pg_is_in_recovery()") == (False,)


def test_a_wrong_query_is_refused_and_the_session_lives(one: Server) -> None:
    """Only a lost connection is a lost session."""
    with Connection(one.dsn) as connection:
        with pytest.raises(ServerUnfit, match=r"^PostgreSQL refuses: division by zero$"):
            connection.rows("SELECT 1/0")
        connection.ping()
        assert isinstance(connection._connection, psycopg.Connection)
