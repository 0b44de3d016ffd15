from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.sinks import WebSink, serving
from tests.archive import pgvault
from tests.cluster.drills import load_shop, write_orders
from tests.helm.chart import Rendered, Workload, render, workloads
from tests.helm.node import Node, Service
from tests.prometheus import answers
from tests.s3servers import free_port
from tests.sandboxes import require_sandbox
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = [pytest.mark.endurance, pytest.mark.cluster]
CHECK = {"name": "orders", "severity": "critical", "threshold": 0, "query": "SELECT count(*) FROM orders WHERE id < 0"}
SECRETS = "/etc/pgvault/secrets/pgvault"
GRACE_SECONDS = 30  # Kubernetes' own


@dataclass(frozen=True, slots=True)
class Fleet:
    """A release with one cluster, a server behind it, and a node that runs its pods."""

    rendered: Rendered
    node: Node
    server: Server
    factory: ServerFactory
    port: int  # of the metrics
    sink: WebSink

    def workload(self, component: str) -> Workload:
        """What is of that component."""
        label = "app.kubernetes.io/component"
        (found,) = [each for each in workloads(self.rendered) if each.labels[label] == component]
        return found

    def run(self, component: str) -> str:
        """Run a job to its end, which is a good one; return what the last container printed."""
        finished = self.node.run(self.workload(component))
        assert [each.status for each in finished] == [0] * len(finished), finished[-1].output + finished[-1].errors
        return finished[-1].output

    def ask(self, *words: str) -> Any:
        """Ask pgvault on this host."""
        told = pgvault("--config", self.node.directory / "pgvault.yaml", *words, "--json")
        assert told.status == 0, told.errors
        return json.loads(told.output)


def make_values(server: Server, directory: Path, port: int, sink: str) -> dict[str, Any]:
    """Return values whose paths and addresses are those of this test; all else is the chart's own."""
    copies = {name: {"url": (directory / "repository" / name).as_uri()} for name in ("primary", "second")}
    alerts = {"receivers": {"desk": {"webhook": sink}}, "default": "desk"}
    cluster = {
        "dsn": server.dsn,
        "checks": [CHECK],
        "stream": {"every": "1s"},
        "retention": {"full": 7},
    }
    return {
        "config": {
            "repository": {"key": f"file:{SECRETS}/key", "copies": copies},
            "audit": {"key": f"file:{SECRETS}/audit.key"},
            "alerts": alerts,
        },
        "clusters": [{"name": "main", "config": cluster}],
        "secrets": [{"name": "pgvault"}],
        "restore": {"cluster": "main", "to": "latest", "claim": "restored", "runAsUser": 999},
        "metrics": {"port": port, "interval": "1s"},
        "alerts": {"every": "1s"},
    }


@pytest.fixture
def fleet(templates: Path, tmp_path: Path) -> Iterator[Fleet]:
    """A release over a shop, with a repository that nothing is in yet."""
    require_sandbox()
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        with serving(WebSink()) as sink:
            server = factory(NEWEST, wal_segsize_mib=1, settings={"max_slot_wal_keep_size": "1GB"})
            load_shop(server.dsn)
            port = free_port()
            values = make_values(server, tmp_path, port, sink.url)
            rendered = render(tmp_path, values)
            maps = {each["metadata"]["name"]: each["data"] for each in rendered.of("ConfigMap")}
            shared = (tmp_path / "repository", server.instance.socket_dir)
            node = Node(tmp_path, maps, {"pgvault": tmp_path / "secrets"}, shared)
            prepare(node, rendered)
            yield Fleet(rendered, node, server, factory, port, sink)
    finally:
        factory.clear()


def prepare(node: Node, rendered: Rendered) -> None:
    """Do what is done once, by hand: the keys, and the Secret of them. The repository is made by the release."""
    secrets = node.secrets["pgvault"]
    for path in (secrets, *(node.shared[0] / name for name in ("primary", "second"))):
        path.mkdir(parents=True)
    config = rendered.named("ConfigMap", "vault-fleet")["data"]["pgvault.yaml"].replace(SECRETS, str(secrets))
    document = yaml.safe_load(config)
    del document["audit"]  # a host's own key, which becomes the Secret's
    (node.directory / "pgvault.yaml").write_text(yaml.safe_dump(document))
    (secrets / "key").write_text(os.urandom(32).hex() + "\n")
    (secrets / "key").chmod(0o400)
    done = pgvault("--config", node.directory / "pgvault.yaml", "audit", "key")
    assert done.status == 0, done.errors
    shutil.copy(Path(os.environ["XDG_STATE_HOME"], "pgvault", "audit.key"), secrets)


@contextmanager
def stopping(fleet: Fleet, component: str) -> Iterator[Service]:
    """Run what does not end by itself; at the end SIGTERM ends it well, in the time that its pod grants."""
    work = fleet.workload(component)
    with fleet.node.running(work) as service:
        yield service
        status = service.terminate(work.pod.get("terminationGracePeriodSeconds", GRACE_SECONDS))
        assert status == 0, service.log.read_text()


def test_every_rendered_command_does_its_work(fleet: Fleet) -> None:
    """Each container, as its pod is specified, against a server: what it is for has happened afterwards."""
    fleet.run("init")
    with stopping(fleet, "alerts") as alerts:
        alerts.wait_until(lambda: fleet.sink.posted)  # there is no backup
    with stopping(fleet, "stream") as stream:
        stream.wait_until(lambda: "streaming from" in stream.log.read_text())
        back_up(fleet)
        write_orders(fleet.server.dsn)
        look_after(fleet)
        with stopping(fleet, "metrics") as metrics:
            metrics.wait_until(lambda: 'cluster="main"' in scrape(fleet))
        fleet.run("drill")
    drills = fleet.ask("drills")["drills"]
    assert [each["passed"] for each in drills] == [True, True]  # of the logical backup, and at a random moment
    restored = restore(fleet)

    assert restored.value("SELECT count(*) FROM orders") == fleet.server.value("SELECT count(*) FROM orders")
    rendered = [(each.name, container["name"]) for each in workloads(fleet.rendered) for container in each.containers]
    assert sorted(fleet.node.ran) == sorted(rendered)


def back_up(fleet: Fleet) -> None:
    """Physical, schema, logical with its drill."""
    fleet.run("backup")
    fleet.run("schema")
    fleet.run("logical")

    listed = fleet.ask("list")
    assert [each["type"] for each in listed["backups"]] == ["full"]
    assert sorted(each["type"] for each in listed["logical"]) == ["logical", "schema"]


def look_after(fleet: Fleet) -> None:
    """Bring the second copy what it lacks, ask the checks, read back, and let retention decide."""
    fleet.run("copy")
    for name in ("checks", "verify", "expire"):
        fleet.run(name)


def scrape(fleet: Fleet) -> str:
    """What is served; nothing while nobody listens."""
    url = f"http://127.0.0.1:{fleet.port}/metrics"
    if not answers(url):
        return ""
    with urllib.request.urlopen(url, timeout=10) as answer:
        told: str = answer.read().decode()
    return told


def restore(fleet: Fleet) -> Server:
    """Start the server that the restore left on its claim."""
    fleet.run("restore")
    data = fleet.node.claim("restored") / "pgdata"
    server = fleet.factory.adopt(fleet.server.programs, data)
    server.instance.wait_ready(60)
    return server
