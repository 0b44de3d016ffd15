"""The laptop's docker-compose file: what it mounts is there, what it configures is read, what it runs is a command."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.config import load_config
from pgvault.process import attempt
from tests.archive import ROOT
from tests.cli.test_help import command_of

HERE = ROOT / "scripts/compose"
COMPOSE: dict[str, Any] = yaml.safe_load((HERE / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "PGVAULT_IMAGE" in service["image"]}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+):-[^}]*\}")


def commands(service: dict[str, Any]) -> list[str]:
    """What a service of ours runs, each as a line."""
    if service.get("entrypoint") == ["/bin/sh", "-c"]:
        return [line.strip() for line in service["command"][0].splitlines() if line.strip().startswith("pgvault ")]
    return [] if "entrypoint" in service else ["pgvault " + shlex.join(service["command"])]


def test_there_is_one_of_each() -> None:
    """A server, two regions, the stream, the copies, drills, metrics, and who looks at them."""
    said = {line for service in OURS.values() for line in commands(service)}

    assert {"postgres", "region-a", "region-b", "prometheus", "grafana"} <= SERVICES.keys()
    assert {"pgvault wal stream", "pgvault copy --watch", "pgvault backup --cluster main"} <= said
    assert len(said) > 7


@pytest.mark.parametrize("line", sorted({line for service in OURS.values() for line in commands(service)}))
def test_what_it_runs_is_a_command(line: str) -> None:
    """pgvault's own parser takes each, so that a renamed option is found here."""
    assert command_of(line).startswith("pgvault ")


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_mounts_is_there(name: str) -> None:
    """Files of this repository, and volumes that are declared."""
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        assert (HERE / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], mount


def test_nothing_is_reached_from_outside() -> None:
    """Its passwords are in the file."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_its_configuration_is_read_and_finds_its_secrets() -> None:
    """Those that are referred to are in the environment of each of ours, and every host is a service."""
    loaded = load_config(HERE / "pgvault.yaml")
    text = (HERE / "pgvault.yaml").read_text()
    needed = set(re.findall(r"env:([A-Z0-9_]+)", text))

    assert needed
    assert all(needed <= service["environment"].keys() for service in OURS.values())
    hosts = {str(copy.endpoint_url).split("/")[2].split(":")[0] for copy in loaded.repository.copies.values()}
    assert hosts == {"region-a", "region-b"}
    assert "host=postgres " in loaded.clusters["main"].dsn
    assert loaded.clusters["main"].source == "stream"


def test_every_variable_is_told() -> None:
    """In the README beside it, and no other."""
    told = set(re.findall(r"`([A-Z0-9_]+_[A-Z0-9_]+)`", (HERE / "README.md").read_text()))

    files = [(HERE / name).read_text() for name in ("docker-compose.yaml", "minio.yaml")]
    assert {name for text in files for name in VARIABLE.findall(text)} == told


def test_graphs_ask_the_prometheus_that_scrapes_us() -> None:
    """Name and port, from one file to the next."""
    (scraped,) = yaml.safe_load((HERE / "prometheus.yml").read_text())["scrape_configs"]
    (source,) = yaml.safe_load((HERE / "grafana/datasources.yaml").read_text())["datasources"]

    assert scraped["static_configs"] == [{"targets": ["metrics:9187"]}]
    assert "0.0.0.0:9187" in SERVICES["metrics"]["command"]
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.endurance
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """With the rules that it mounts."""
    (mount,) = (each for each in SERVICES["prometheus"]["volumes"] if "rules" in each)
    source, target, _ = mount.split(":")
    rules = tmp_path / Path(target).name
    rules.write_text((HERE / source).read_text())
    config = tmp_path / "prometheus.yml"
    config.write_text((HERE / "prometheus.yml").read_text().replace(str(Path(target).parent), str(tmp_path)))

    checked = attempt(["promtool", "check", "config", config], timeout=60)

    assert checked.status == 0, checked
    assert "1 rule files found" in checked.output
