from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pgvault.drill.engine import (
    ENGINES,
    Box,
    Engine,
    Image,
    Limits,
    default_image,
    find_engine,
    find_image,
    last_line,
    read_image,
    read_rootless,
    run_words,
)
from pgvault.errors import DrillNotRun
from pgvault.process import attempt

ROOT = Path("/srv/pgvault-drill-0a1b2c3d")
IMAGE = Image("postgres:18", "sha256:" + "ab" * 32, None)
BOX = Box("0a1b2c3d", "pgvault-drill-0a1b2c3d", {ROOT: ROOT}, (10001, 10001), Limits(), {"LC_ALL": "C"})
INSPECTED = {"Id": "ab" * 32, "RepoDigests": ["docker.io/library/postgres@sha256:" + "cd" * 32]}

installed = pytest.mark.parametrize(
    "program",
    [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
        for name in ENGINES
    ],
)


@pytest.mark.parametrize("program", ENGINES)
def test_a_container_can_reach_nothing(program: str) -> None:
    """The same words for both engines: no network, nothing writable but the scratch, no rights, limits, our mark."""
    words = run_words(Engine(program), BOX, IMAGE, ["/usr/lib/postgresql/18/bin/postgres", "-D", ROOT / "data"])

    image = words.index(IMAGE.id)
    options, rest = words[2:image], words[image + 1 :]
    proxies = [word for word in options if "proxy=" in word.lower()]
    assert words[:2] == [program, "run"]
    assert [word for word in options if word not in proxies] == [
        "--rm",
        "--pull=never",
        "--name=pgvault-drill-0a1b2c3d",
        "--label=org.pgvault.drill=0a1b2c3d",
        "--network=none",
        "--read-only",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--memory=2g",
        "--shm-size=2g",
        "--cpus=2",
        "--pids-limit=1024",
        "--log-driver=none",
        "--no-healthcheck",
        "--workdir=/",
        "--user=10001:10001",
        "--env=LC_ALL=C",
        f"--volume={ROOT}:{ROOT}:z",
        "--entrypoint=/usr/lib/postgresql/18/bin/postgres",
    ]
    assert "--env=https_proxy=" in proxies
    assert rest == ["-D", str(ROOT / "data")]


def test_podman_without_root_keeps_our_user() -> None:
    """Else the user inside could not read what we restored."""
    assert "--userns=keep-id" in run_words(Engine("podman", is_rootless=True), BOX, IMAGE, ["sh"])


@installed
def test_the_engine_knows_every_word(program: str) -> None:
    """Its own help lists each option that we give."""
    told = attempt([program, "run", "--help"], timeout=60).output
    words = run_words(Engine(program), BOX, IMAGE, ["sh"], is_interactive=True)

    options = {word.partition("=")[0] for word in words[2 : words.index(IMAGE.id)]}

    assert [option for option in options if f"{option} " not in told] == []


@pytest.mark.parametrize(
    ("info", "is_rootless"),
    [
        ({"host": {"security": {"rootless": True}}}, True),
        ({"host": {"security": {"rootless": False}}}, False),
    ],
)
def test_podman_tells_whether_it_is_root(info: dict[str, object], *, is_rootless: bool) -> None:
    """By its own document."""
    assert read_rootless("podman", json.dumps(info)) is is_rootless


@pytest.mark.parametrize("option", ["name=rootless", "name=userns"])
def test_a_docker_that_maps_users_is_refused(option: str) -> None:
    """The restored files can be given to nobody inside, so the drill says so before it restores any."""
    assert read_rootless("docker", json.dumps({"SecurityOptions": ["name=seccomp,profile=builtin"]})) is False
    with pytest.raises(DrillNotRun, match="docker maps users here"):
        read_rootless("docker", json.dumps({"SecurityOptions": ["name=seccomp,profile=builtin", option]}))


def test_a_docker_without_its_daemon() -> None:
    """Some clients tell of it in their document only."""
    with pytest.raises(DrillNotRun, match="docker does not answer: no daemon"):
        read_rootless("docker", json.dumps({"ServerErrors": ["no daemon"]}))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"host": 1}'])
def test_what_podman_does_not_say(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(DrillNotRun, match="can not be read"):
        read_rootless("podman", text)


def test_an_image_is_told_with_its_digest() -> None:
    """Docker writes sha256: before the id, podman does not; an image of this host alone has no digest."""
    for inspected in (INSPECTED, {**INSPECTED, "Id": "sha256:" + "ab" * 32}):
        image = read_image("postgres:18", json.dumps([inspected]))
        assert image == Image("postgres:18", IMAGE.id, "docker.io/library/postgres@sha256:" + "cd" * 32)
    assert read_image("mine", json.dumps([{"Id": "ab" * 32, "RepoDigests": None}])).digest is None
    for text in ("", "[]", "[1]", '[{"Names": []}]'):
        with pytest.raises(DrillNotRun, match="can not be read"):
            read_image("mine", text)


def test_the_official_image_is_the_default() -> None:
    """Of the backup's own major, whose data directory no other opens."""
    assert default_image(17) == "docker.io/library/postgres:17"


def test_what_an_engine_said_at_last() -> None:
    """One clause for the report."""
    assert last_line("warning: x\nError: no such image\n\n") == "Error: no such image"
    assert last_line(" \n") == "it said nothing"


def test_without_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which one is missing, and what can be done without."""
    monkeypatch.setenv("PATH", str(tmp_path))

    for wanted, missing in ((None, "podman or docker"), ("docker", "docker")):
        with pytest.raises(DrillNotRun, match=f"needs {missing}, which is not installed") as caught:
            find_engine(wanted)
        assert "--isolation" in str(caught.value.hint)


@pytest.mark.parametrize("program", ENGINES)
def test_an_engine_that_does_not_answer(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own words are in the error, such as those of a daemon that is not there."""
    engine = tmp_path / program
    engine.write_text("#!/bin/sh\necho 'Cannot connect to the daemon' >&2\nexit 1\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    with pytest.raises(DrillNotRun, match=f"{program} does not answer: Cannot connect to the daemon"):
        find_engine(None if program == "podman" else program)


def test_an_image_is_pulled_only_when_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hint says how to fetch it; with `pull` it is fetched, once, and then it is there."""
    said = tmp_path / "said"
    engine = tmp_path / "docker"
    engine.write_text(
        f"""#!/bin/sh
echo "$*" >>{said}
case $1 in
pull) touch {tmp_path}/here ;;
*) [ -e {tmp_path}/here ] && echo '{json.dumps([INSPECTED])}' || {{ echo "No such image" >&2; exit 1; }} ;;
esac
"""
    )
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DrillNotRun, match="docker has no image 'postgres:18': No such image") as caught:
        find_image(Engine("docker"), "postgres:18", pull=False)
    assert "docker pull postgres:18" in str(caught.value.hint)
    assert "pull" not in said.read_text()

    image = find_image(Engine("docker"), "postgres:18", pull=True)

    assert image.id == IMAGE.id
    assert said.read_text().splitlines()[-3:] == [
        "image inspect postgres:18",
        "pull --quiet postgres:18",
        "image inspect postgres:18",
    ]
