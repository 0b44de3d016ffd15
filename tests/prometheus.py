"""A real Prometheus, a real Alertmanager and somebody who is told: on the loopback, gone at the end of a `with`.

metrics served ──scraped──> Prometheus ──rules──> Alertmanager ──webhook──> Receiver
"""

from __future__ import annotations

import json
import shutil
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import pytest
import yaml

from pgvault.process import start
from tests.s3servers import free_port

START_SECONDS = 60
END_SECONDS = 30
T = TypeVar("T")


def require_programs() -> None:
    """Skip where one of them is missing: .ci/run takes that for a failure."""
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@dataclass(slots=True)
class Told:
    """One alert as it was delivered."""

    at: float  # monotonic
    status: str  # firing, resolved
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def subject(self) -> tuple[str, str, str]:
        return self.status, self.labels["alertname"], self.labels.get("cluster", "")


@dataclass(slots=True)
class Receiver:
    """Whoever is told; everything it was told is kept."""

    port: int
    told: list[Told] = field(default_factory=list)

    def find(self, status: str, alert: str, cluster: str, *, since: float = 0.0) -> Told | None:
        """The first delivery of that kind since an instant; an alert about all clusters has the cluster ""."""
        wanted = (status, alert, cluster)
        return next((each for each in self.told if each.at >= since and each.subject == wanted), None)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen to what Alertmanager sends to a webhook."""
    told: list[Told] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            now = time.monotonic()
            told.extend(Told(now, each["status"], each["labels"], each["annotations"]) for each in document["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the library names it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Receiver(server.server_port, told)
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(argv: Sequence[str | Path], log: Path, env: Mapping[str, str], *, ready: str) -> Iterator[None]:
    """Run a service until the end of the `with`; it answers 200 at `ready`."""
    process = start(argv, env=env, log=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(ready):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.signal(signal.SIGTERM)
        process.wait(END_SECONDS)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Watching:
    """Both services, watching one place where metrics are served."""

    prometheus: str  # url
    receiver: Receiver

    def query(self, expr: str) -> list[tuple[Mapping[str, str], float]]:
        """Ask Prometheus for the present value."""
        asked = urllib.parse.urlencode({"query": expr})
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query?{asked}", timeout=30) as answer:
            found: Any = json.loads(answer.read())
        return [(each["metric"], float(each["value"][1])) for each in found["data"]["result"]]

    def value(self, expr: str) -> float | None:
        """The one value of an expression; None where there is none."""
        return next((value for _, value in self.query(expr)), None)


@contextmanager
def watching(directory: Path, metrics_port: int, rules: str, env: Mapping[str, str]) -> Iterator[Watching]:
    """Start an Alertmanager, and a Prometheus that scrapes every second what is served on a port."""
    require_programs()
    directory.mkdir()
    (directory / "rules.yaml").write_text(rules)
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        manager = _start_alertmanager(stack, directory, receiver.port, env)
        yield Watching(_start_prometheus(stack, directory, (metrics_port, manager), env), receiver)


def _start_alertmanager(stack: ExitStack, directory: Path, receiver: int, env: Mapping[str, str]) -> int:
    port, config = free_port(), directory / "alertmanager.yaml"
    route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    webhook = {"url": f"http://127.0.0.1:{receiver}/", "send_resolved": True}
    config.write_text(yaml.safe_dump({"route": route, "receivers": [{"name": "test", "webhook_configs": [webhook]}]}))
    argv = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={directory / 'alertmanager'}"]
    argv += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    ready = f"http://127.0.0.1:{port}/-/ready"
    stack.enter_context(running(argv, directory / "alertmanager.log", env, ready=ready))
    return port


def _start_prometheus(stack: ExitStack, directory: Path, ports: tuple[int, int], env: Mapping[str, str]) -> str:
    metrics, manager = ports
    port, config = free_port(), directory / "prometheus.yaml"
    scrape = {"job_name": "pgvault", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}
    document = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(directory / "rules.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]},
        "scrape_configs": [scrape],
    }
    config.write_text(yaml.safe_dump(document))
    argv = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'prometheus'}"]
    argv += [f"--web.listen-address=127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"
    stack.enter_context(running(argv, directory / "prometheus.log", env, ready=f"{url}/-/ready"))
    return url


def wait_for(look: Callable[[], T | None], seconds: float) -> T:
    """Return what there is to see once there is something."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found
