"""What a recovering server does when its fetch fails: it stays down, and the same directory recovers later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pgvault.errors import RecoveryFailed
from pgvault.postgres.control import CONTROL_PATH, ClusterState, read_control
from pgvault.postgres.programs import find_programs
from tests.archive import KEY, ROOT, Archive, program, write_config
from tests.servers import MAJORS, NEWEST, Server, ServerFactory
from tests.wal.servers import Disaster, recovery_settings, rows, strike

pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Scene:
    """A copy that is to recover, and what may be damaged."""

    archive: Archive
    disaster: Disaster
    plan: Path
    scratch: Path

    @property
    def third(self) -> Path:
        """The stored object with the third row."""
        return self.archive.object_path(self.disaster.segments[2], self.disaster.system_identifier)

    def fetch(self, words: list[str] | None = None) -> list[str]:
        """The words of a fetch that follows the plan."""
        return [*(words or program()), "wal", "fetch", "--plan", str(self.plan), "--retry-for", "1s"]


Fault = Callable[[Scene], Iterator[list[str]]]  # yields the words of the fetch to use while it lasts


def root_gone(scene: Scene) -> Iterator[list[str]]:
    away = scene.archive.root.with_name("away")
    scene.archive.root.rename(away)
    yield scene.fetch()
    away.rename(scene.archive.root)


def wrong_key(scene: Scene) -> Iterator[list[str]]:
    scene.archive.key.write_text(bytes(reversed(KEY)).hex())
    yield scene.fetch()
    scene.archive.key.write_text(KEY.hex())


def key_gone(scene: Scene) -> Iterator[list[str]]:
    scene.archive.key.unlink()
    yield scene.fetch()
    scene.archive.key.write_text(KEY.hex())


def elsewhere(scene: Scene, endpoint: str) -> Iterator[list[str]]:
    """The repository is looked for at an S3 endpoint."""
    before = scene.archive.config.read_text()
    write_config(scene.archive.config, scene.archive.key, "s3://bucket/prefix", endpoint=endpoint)
    yield scene.fetch()
    scene.archive.config.write_text(before)


def unreachable(scene: Scene) -> Iterator[list[str]]:
    yield from elsewhere(scene, "http://127.0.0.1:1")


def answering(status: int) -> Fault:
    """An endpoint that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815  the names http.server looks for

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  http.server's name
            """Keep the tests' output quiet."""

    def fault(scene: Scene) -> Iterator[list[str]]:
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as endpoint:
            threading.Thread(target=endpoint.serve_forever, daemon=True).start()
            yield from elsewhere(scene, f"http://127.0.0.1:{endpoint.server_port}")
            endpoint.shutdown()

    return fault


def damaged(damage: Callable[[bytes, Scene], bytes]) -> Fault:
    """The third row's object holds something else."""

    def fault(scene: Scene) -> Iterator[list[str]]:
        whole = scene.third.read_bytes()
        scene.third.write_bytes(damage(whole, scene))
        yield scene.fetch()
        scene.third.write_bytes(whole)

    return fault


def flipped(whole: bytes, _: Scene) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]


def swapped(_: bytes, scene: Scene) -> bytes:
    return scene.third.with_name(scene.disaster.segments[1]).read_bytes()


def missing(scene: Scene) -> Iterator[list[str]]:
    whole = scene.third.read_bytes()
    scene.third.unlink()
    yield scene.fetch()
    scene.third.write_bytes(whole)


def poisoned(module: str) -> Fault:
    """Python finds a module that does not load."""

    def fault(scene: Scene) -> Iterator[list[str]]:
        poison = scene.scratch / f"poison-{module}"
        poison.mkdir()
        (poison / f"{module}.py").write_text("this is no Python\n")
        yield scene.fetch(program(python_path=f"{poison}:{ROOT}"))

    return fault


def uninstalled(scene: Scene) -> Iterator[list[str]]:
    # -S, since an installed pgvault is found without PYTHONPATH as well.
    env, path, python, *rest = program(python_path="/nowhere")
    yield scene.fetch([env, path, python, "-S", *rest])


def program_missing(scene: Scene) -> Iterator[list[str]]:
    yield scene.fetch(["/nowhere/pgvault"])


def bad_option(scene: Scene) -> Iterator[list[str]]:
    yield [*scene.fetch(), "--bogus"]


def plan_missing(scene: Scene) -> Iterator[list[str]]:
    away = scene.plan.with_name("away.json")
    scene.plan.rename(away)
    yield scene.fetch()
    away.rename(scene.plan)


FAULTS: dict[str, Fault] = {
    "missing object": missing,
    "corrupt object": damaged(flipped),
    "truncated object": damaged(lambda whole, _: whole[:-1]),
    "empty object": damaged(lambda whole, _: b""),
    "swapped object": damaged(swapped),
    "store gone": root_gone,
    "wrong key": wrong_key,
    "key gone": key_gone,
    "network off": unreachable,
    "403": answering(403),
    "500": answering(500),
    "broken dependency": poisoned("cryptography"),
    "broken standard library": poisoned("json"),
    "pgvault uninstalled": uninstalled,
    "program missing": program_missing,
    "bad option": bad_option,
    "plan missing": plan_missing,
}


# What reaches the server of them are few: our own exit, and a program that is not there or does not load.
FEW = ("missing object", "store gone", "pgvault uninstalled", "program missing", "bad option")
CASES = [
    *(pytest.param(major, tuple(FAULTS), id=f"{major}") for major in sorted({*MAJORS[:1], NEWEST})),
    *(pytest.param(major, FEW, id=f"{major} few") for major in MAJORS[1:] if major != NEWEST),
]


def recover(server: Server, fetch: list[str]) -> None:
    """Start the copy; returns when it is open for writing. Raises RecoveryFailed when it goes down."""
    server.instance.start(server.settings | recovery_settings(fetch))
    server.instance.wait_ready(90)


@pytest.mark.endurance
@pytest.mark.parametrize(("major", "faults"), CASES)
def test_no_fault_promotes_early(server: ServerFactory, major: int, faults: tuple[str, ...], archive: Archive) -> None:
    """With each fault the server goes down unpromoted; once all is repaired the same directory has every row."""
    disaster = strike(server, major, archive)
    scratch = server.directory()
    scene = Scene(archive, disaster, scratch / "plan.json", scratch)
    archive.plan(disaster.system_identifier).save(scene.plan)
    (disaster.copy / "recovery.signal").touch()
    one = server.adopt(find_programs(major), disaster.copy, running=False)

    for name in faults:
        with contextmanager(FAULTS[name])(scene) as fetch:
            with pytest.raises(RecoveryFailed):
                recover(one, fetch)
            assert (disaster.copy / "recovery.signal").exists(), name
            control = read_control(disaster.copy / CONTROL_PATH)
            assert control.checkpoint_timeline == 1, name
            assert control.state is not ClusterState.IN_PRODUCTION, name

    recover(one, scene.fetch())
    assert rows(one) == [1, 2, 3, 4]
    assert str(one.value("SELECT pg_walfile_name(pg_current_wal_lsn())")).startswith("00000002")
    left = {path.name for path in (disaster.copy / "pg_wal").iterdir()}
    assert {name for name in left if "pgvault" in name or name.startswith("RECOVERY")} == set()
