"""Metrics left in a file, and pushed to a gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.core import GaugeMetricFamily

from pgvault.errors import PlainSecret, StoreUnreachable, UsageError
from pgvault.metrics.delivering import check_gateway, push, write_textfile
from pgvault.metrics.exposition import Collected, expose
from tests.archive import AT

GREEN = Collected((GaugeMetricFamily("pgvault_cluster_level", "…", value=0.0),), AT, 0.1)


def test_the_textfile_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    """node-exporter is another user, whatever our umask is; it never sees half a file or one under way."""
    path = tmp_path / "pgvault.prom"
    path.write_text("old")
    inode = path.stat().st_ino
    before = os.umask(0o077)
    try:
        write_textfile(path, GREEN)
    finally:
        os.umask(before)

    assert path.read_bytes() == expose(GREEN)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [path]


def test_a_textfile_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    """It is an error in one sentence, and nothing under way is left behind."""
    with pytest.raises(UsageError, match="No such file or directory"):
        write_textfile(tmp_path / "nowhere/pgvault.prom", GREEN)
    (tmp_path / "pgvault.prom").mkdir()
    with pytest.raises(UsageError, match=r"can not be written to .*Is a directory"):
        write_textfile(tmp_path / "pgvault.prom", GREEN)
    with pytest.raises(UsageError, match="names no file"):
        write_textfile(Path("/"), GREEN)

    assert [each.name for each in tmp_path.iterdir()] == ["pgvault.prom"]


@contextmanager
def gateway(status: int) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """An HTTP server that answers with `status`; yields its URL and what it was asked."""
    asked: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append((self.command, self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_push_replaces_the_group_of_its_cluster() -> None:
    """PUT: what is not known any more is gone at the gateway, too; another cluster's stays."""
    with gateway(202) as (url, asked):
        push(url, "main", GREEN)

    assert asked == [("PUT", "/metrics/job/pgvault/cluster/main", expose(GREEN))]


def test_a_gateway_that_does_not_take_them() -> None:
    """It refuses, or nobody is there."""
    with gateway(400) as (url, _), pytest.raises(StoreUnreachable, match="refused the metrics: 400"):
        push(url, "main", GREEN)
    with pytest.raises(StoreUnreachable, match=r"did not take the metrics: .*refused"):
        push(url, "main", GREEN)


def test_what_is_no_gateway() -> None:
    """A password in a command is seen by everybody on the host."""
    check_gateway("https://pushgateway:9091/prefix")
    for wrong in ("pushgateway:9091", "ftp://host", "http://"):
        with pytest.raises(UsageError, match="is not a gateway's URL"):
            check_gateway(wrong)
    with pytest.raises(PlainSecret):
        check_gateway("http://user:word@pushgateway:9091")
