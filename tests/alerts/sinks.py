"""Receivers as they are: a web server that keeps what was posted, and a mail server that keeps mails. Loopback only."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


class WebSink(ThreadingHTTPServer):
    """Keeps every request. `answers` are the next statuses, of requests to `answering` alone; then 202."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.posted: list[tuple[str, Any]] = []  # path, body
        self.asked: list[str] = []  # paths
        self.answers: list[int] = []
        self.answering = ""  # what a path begins with; "": every one
        self.is_dead = False  # whether every answer is 500
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, path: str) -> list[Any]:
        """What was posted there and taken."""
        return [body for where, body in self.posted if where == path]


class _Asked(BaseHTTPRequestHandler):
    server: WebSink

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        with self.server.lock:
            is_next = self.server.answers and self.path.startswith(self.server.answering)
            status = self.server.answers.pop(0) if is_next else 500 if self.server.is_dead else 202
            if status < 300 and body is not None:
                self.server.posted.append((self.path, body))
            elif status < 300:
                self.server.asked.append(self.path)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"{self.server.url}/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Sink = TypeVar("Sink", bound=socketserver.BaseServer)


class MailSink(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP as it takes to hand over a mail. `refusals` answer the first RCPT commands."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, *, offers: bytes = b"fine") -> None:
        super().__init__(("127.0.0.1", 0), _Spoken)
        self.offers = offers  # what it says to EHLO
        self.mails: list[str] = []
        self.refusals: list[bytes] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Spoken(socketserver.StreamRequestHandler):
    server: MailSink

    def handle(self) -> None:
        self._say(b"220 sink")
        while line := self.rfile.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"RCPT" and self.server.refusals:
                self._say(self.server.refusals.pop(0))
            elif verb == b"DATA":
                self._say(b"354 go on")
                self.server.mails.append(self._take())
                self._say(b"250 taken")
            elif verb == b"EHLO":
                self._say(b"250-sink")
                self._say(b"250 " + self.server.offers)
            elif verb == b"QUIT":
                self._say(b"221 bye")
                return
            else:
                self._say(b"250 fine")

    def _take(self) -> str:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.decode())
        return "".join(lines)

    def _say(self, words: bytes) -> None:
        self.wfile.write(words + b"\r\n")


@contextmanager
def serving(sink: Sink) -> Iterator[Sink]:
    """Let a server answer for a while."""
    thread = threading.Thread(target=sink.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.shutdown()
        sink.server_close()
        thread.join()
