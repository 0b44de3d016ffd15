"""`pgvault drill --self-test`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from pgvault.cli import render
from pgvault.cli.isolation import isolation_of
from pgvault.cli.opening import credential_of, make_copies, open_from, read_credential
from pgvault.cli.signals import leaving_in_order
from pgvault.config import DrillConfig, KeyReference, find_config, load_config, parse_key_reference
from pgvault.demo.run import make_directory
from pgvault.drill.isolation import Isolation
from pgvault.drill.scratch import find_place
from pgvault.errors import ConfigInvalid, DrillNotRun
from pgvault.instants import SystemClock
from pgvault.repository.copies import Copy
from pgvault.repository.keyfile import generate_key_file
from pgvault.repository.repository import Repository, init_repository, open_repository
from pgvault.selftest.ground import CLUSTER, SelfTestHost
from pgvault.selftest.run import Caught, How, SelfTest, require_caught, run_self_test
from pgvault.stores.file import FileStore


def self_test(
    given: Path | None, cluster: str | None, *, scratch: Path | None, isolation: Isolation | None, as_json: bool
) -> None:
    """Plant faults into a throw-away cluster, and fail unless each is caught; `given` is the configuration's path."""
    config = _drill_config(given, cluster)
    directory = make_directory(find_place(scratch or config.scratch))
    try:
        with leaving_in_order(DrillNotRun.exit_code), render.showing_progress() as progress:
            how = How(isolation_of(config, isolation), lambda caught: _tell(caught, as_json=as_json), progress)
            test = run_self_test(_host(directory), how)
    finally:
        shutil.rmtree(directory)
    _render(test, as_json=as_json)
    require_caught(test)


def _drill_config(given: Path | None, cluster: str | None) -> DrillConfig:
    """How drills are kept apart here, where a configuration says so; none is needed."""
    try:
        path = find_config(given)
    except ConfigInvalid:  # there is none; one that is there and wrong is told
        return DrillConfig()
    return load_config(path).cluster(cluster)[1].drill


def _host(directory: Path) -> SelfTestHost:
    config = directory / "pgvault.yaml"
    key, other = directory / "key", directory / "other"
    return SelfTestHost(
        directory=directory,
        config=config,
        make_repository=lambda dsn: _make_repository(config, key, other, dsn),
        open_repository=lambda root: _open(root, key),
        open_wrongly=lambda root: _open(root, other),
        clock=SystemClock(),
    )


def _make_repository(config: Path, key: Path, other: Path, dsn: str) -> Repository:
    directory = config.parent
    document = {
        "repository": {"key": f"file:{key}", "copies": {"primary": {"url": f"file://{directory}/repository"}}},
        "clusters": {CLUSTER: {"dsn": dsn}},
    }
    config.write_text(json.dumps(document))  # JSON is YAML
    generate_key_file(key)
    generate_key_file(other)
    loaded = load_config(config)
    init_repository(make_copies(loaded), read_credential(loaded), now=SystemClock().now())
    return open_from(loaded)


def _open(root: Path, key: Path) -> Repository:
    reference: KeyReference = parse_key_reference(f"file:{key}")
    return open_repository([Copy("primary", FileStore(root))], credential_of(reference))


def _tell(caught: Caught, *, as_json: bool) -> None:
    """Say what came of each fault as it is known; with --json on stderr, since stdout is for the document."""
    stream = sys.stderr if as_json else sys.stdout
    word = "caught" if caught.is_caught else "MISSED"
    said = render.printable(caught.said)
    stream.write(f"{render.duration(caught.seconds):>8}  {word}  {caught.fault}: {said}\n")
    stream.flush()


def _render(test: SelfTest, *, as_json: bool) -> None:
    if as_json:
        render.write_json(test.to_json())
        return
    caught = sum(each.is_caught for each in test.faults)
    word = "PASSED" if test.passed else "FAILED"
    lines = [f"isolation: {test.isolation}", f"{word} · {caught} of {len(test.faults)} planted faults were caught"]
    render.write_lines(lines)
