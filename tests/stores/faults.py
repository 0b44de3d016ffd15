"""A loopback proxy before an S3 server that answers as told: the faults that real stores and networks show.

    store ──> FaultyServer ──> moto, versitygw

Each request is shown to `plan`, a function; what it returns decides. None: pass it on. The proxy serves whoever knows
its url, so a configuration may name it as the `endpoint_url` of a copy, and other processes may ask it:

    with FaultyServer((host, port)) as server:          where the S3 server behind it listens
        configuration["copies"]["dr"]["endpoint_url"] = server.url
        with server.black_hole():                       accepts every connection and request, answers none
            ...                                         pushes, while the region is gone
        ...                                             the region is back; what hung is cut off
        server.once(error(503, "SlowDown"), method="PUT")
        server.always(Reset(), method="GET")
        server.requests                                 everything that was asked, faults included
"""

from __future__ import annotations

import http.client
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from pgvault.stores.base import ObjectStore

BODY = bytes(range(256)) * 4096  # 1 MiB: the one object that the verbs below use
HOP = {"connection", "content-length", "date", "host", "server", "transfer-encoding", "expect"}


@dataclass(frozen=True, slots=True)
class Request:
    """What the store asked."""

    method: str
    path: str  # without the query
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def is_listing(self) -> bool:
        return "list-type" in self.query


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of our own."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """Pass the request on, then change what comes back."""

    drop_request_headers: frozenset[str] = frozenset()
    drop_headers: frozenset[str] = frozenset()
    cut_body_to: int | None = None  # bytes, under the full Content-Length
    says_length: bool = True  # with a cut body: False sends it without Content-Length, until the connection ends
    is_lost: bool = False  # the connection ends instead of an answer


@dataclass(frozen=True, slots=True)
class Silence:
    """Say nothing, or drip an endless header line at so many seconds a byte."""

    seconds_per_byte: float | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection by a reset, before anything was done."""


Fault = Answer | Change | Silence | Reset | None
Plan = Callable[[Request], Fault]


def error(status: int, code: str) -> Answer:
    """An S3 error document."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>told to</Message></Error>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


def pass_on(request: Request) -> Fault:
    """No fault."""
    return None


class FaultyServer:
    """The proxy, on a free port of the loopback; `requests` holds all it saw."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.plan: Plan = pass_on
        self.requests: list[Request] = []
        self.upstream = upstream
        self.is_over = Event()  # ends the silences of one test
        self._server = Proxy(self)
        self._thread = Thread(target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> None:
        """Behave again, forget the requests, end every silence."""
        self.plan = pass_on
        self.requests.clear()
        self.is_over.set()
        self.is_over = Event()

    def once(self, fault: Fault, *, method: str) -> None:
        """Meet the first request of that method with `fault`, pass on all others."""
        pending = [fault]

        def plan(request: Request) -> Fault:
            return pending.pop() if pending and request.method == method else None

        self.plan = plan

    def always(self, fault: Fault, *, method: str) -> None:
        """Meet every request of that method with `fault`."""
        self.plan = lambda request: fault if request.method == method else None

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Accept everything and answer nothing, for as long as the block lasts; then behave again."""
        self.plan = lambda request: Silence()
        try:
            yield
        finally:
            self.plan = pass_on
            self.is_over.set()
            self.is_over = Event()


class Proxy(ThreadingHTTPServer):
    """The listening part of a FaultyServer."""

    daemon_threads = True

    def __init__(self, faulty: FaultyServer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faulty = faulty

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked has gone meanwhile: that is what a time limit does."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class Handler(BaseHTTPRequestHandler):
    """One connection of the proxy."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    @property
    def faulty(self) -> FaultyServer:
        assert isinstance(self.server, Proxy)
        return self.server.faulty

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base class's name
        pass

    def serve(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        self.faulty.requests.append(request)
        fault = self.faulty.plan(request)
        if isinstance(fault, Silence):
            self.drip(fault)
        elif isinstance(fault, Reset):
            self.break_off()
        elif isinstance(fault, Answer):
            self.reply(fault.status, fault.headers, fault.body)
        else:
            self.forward(request, fault or Change())

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = serve  # noqa: N815  the base class's names

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drip(self, silence: Silence) -> None:
        self.close_connection = True
        is_over = self.faulty.is_over
        if silence.seconds_per_byte is None:
            is_over.wait()  # a daemon: it keeps no test run from ending
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        end = time.monotonic() + 30
        while time.monotonic() < end and not is_over.wait(silence.seconds_per_byte):
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def break_off(self) -> None:
        self.close_connection = True
        # Lingering for no time at all turns the close into a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def forward(self, request: Request, change: Change) -> None:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in HOP | change.drop_request_headers or name.lower() == "host"
        }
        connection = http.client.HTTPConnection(*self.faulty.upstream, timeout=30)
        try:
            connection.request(request.method, self.path, body=request.body, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if change.is_lost:
            self.close_connection = True
            return
        self.pass_back(answer, body, change)

    def pass_back(self, answer: http.client.HTTPResponse, body: bytes, change: Change) -> None:
        is_head = self.command == "HEAD"
        length = answer.getheader("Content-Length") or "0" if is_head else str(len(body))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP | change.drop_headers:
                self.send_header(name, value)
        if change.says_length:
            self.send_header("Content-Length", length)
        self.end_headers()
        if is_head:
            return
        if change.cut_body_to is not None:
            body = body[: change.cut_body_to]
            self.close_connection = True
        self.wfile.write(body)


def name_of(fault: object) -> str | None:
    """What pytest calls a case."""
    if isinstance(fault, Answer):
        code = fault.body.decode().partition("<Code>")[2].partition("</Code>")[0]
        return f"{fault.status}-{code}"
    return type(fault).__name__ if isinstance(fault, Silence | Reset) else None


def put(store: ObjectStore) -> None:
    """Put the one object."""
    store.put_if_absent("wal/a", BODY)


def get(store: ObjectStore) -> None:
    store.get("wal/a")


def size(store: ObjectStore) -> None:
    store.size("wal/a")


def list_all(store: ObjectStore) -> None:
    list(store.list("wal"))
