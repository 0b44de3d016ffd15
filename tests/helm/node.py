"""Runs rendered pods without Kubernetes: each container in bubblewrap, with the file system that its pod spec says.

    /                              read-only: this host's programs, and PostgreSQL's, where the image would be
    ConfigMaps, Secrets            read-only, where they are mounted
    emptyDir, claims               writable, where they are mounted; nothing else is
    `shared` directories           under their own path: the server's socket, a repository in files

The variables are the image's and the pod spec's, and those that Kubernetes sets; the user is the one that the pod spec
says; init containers run first. There is no image here: what its entry point does is tried by .ci/run.
"""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgvault.drill.sandbox import SYSTEM
from pgvault.postgres.launcher import children
from pgvault.process import Finished, Process, attempt, start
from tests.archive import ROOT
from tests.helm.chart import Workload

IMAGE_VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "USER": "pgvault",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
KUBERNETES_VARIABLES = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
SEPARATE = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "nsswitch.conf", "ssl")
TIMEOUT_SECONDS = 300
Container = Mapping[str, Any]


@dataclass(slots=True)
class Node:
    """Where pods run, and what they are given."""

    directory: Path
    maps: Mapping[str, Mapping[str, str]]  # ConfigMaps by name, with their files
    secrets: Mapping[str, Path]  # by name: a directory with the keys
    shared: tuple[Path, ...]
    ran: list[tuple[str, str]] = field(default_factory=list)  # (workload, container), in order

    def run(self, work: Workload) -> list[Finished]:
        """Run the containers of a job one after the other, until one fails."""
        with self.pod(work) as pod:
            finished: list[Finished] = []
            for container in work.containers:
                self.ran.append((work.name, container["name"]))
                argv, env = pod.command(container)
                finished.append(attempt(argv, timeout=TIMEOUT_SECONDS, env=env))
                if finished[-1].status != 0:
                    break
            return finished

    @contextmanager
    def running(self, work: Workload) -> Iterator[Service]:
        """Run a pod of one container that does not end by itself; whoever asked for it lets it end."""
        (container,) = work.containers
        self.ran.append((work.name, container["name"]))
        with self.pod(work) as pod:
            argv, env = pod.command(container)
            log = self.directory / f"{work.name}.log"
            service = Service(start(argv, env=env, log=log), log)
            try:
                yield service
            finally:
                service.process.signal(signal.SIGKILL)
                service.process.wait(30)

    @contextmanager
    def pod(self, work: Workload) -> Iterator[Pod]:
        """Lay out the volumes of a pod; those of claims stay."""
        place = Path(tempfile.mkdtemp(prefix=f"{work.name}-", dir=self.directory))
        volumes = {each["name"]: self._volume(each, place) for each in work.pod["volumes"]}
        (place / "passwd").write_text(
            f"pgvault:x:{work.pod['securityContext']['runAsUser']}:0::/tmp:/usr/sbin/nologin\n"
        )
        yield Pod(work, volumes, place, self)

    def claim(self, name: str) -> Path:
        """Return the directory of a claim, made when it is first asked for."""
        path = self.directory / "claims" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _volume(self, volume: Mapping[str, Any], place: Path) -> tuple[Path, bool]:
        """Return a directory, and whether a pod may write there."""
        if "secret" in volume:
            return self.secrets[volume["secret"]["secretName"]], False
        if "persistentVolumeClaim" in volume:
            return self.claim(volume["persistentVolumeClaim"]["claimName"]), True
        path = place / volume["name"]
        path.mkdir()
        if "configMap" in volume:
            for name, text in self.maps[volume["configMap"]["name"]].items():
                (path / name).write_text(text)
        return path, "configMap" not in volume


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has its volumes."""

    work: Workload
    volumes: Mapping[str, tuple[Path, bool]]
    place: Path
    node: Node

    def command(self, container: Container) -> tuple[list[str], dict[str, str]]:
        """Return what runs a container, and its variables."""
        context = self.work.pod["securityContext"]
        words = ["bwrap", *SEPARATE, "--uid", str(context["runAsUser"]), "--gid", str(context["runAsGroup"])]
        words += [
            "--tmpfs",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            *_image(),
            "--ro-bind",
            str(self.place / "passwd"),
        ]
        words += ["/etc/passwd"]
        # A mount below another one comes after it.
        for mount in sorted(container["volumeMounts"], key=lambda each: str(each["mountPath"])):
            directory, is_writable = self._directory(mount["name"])
            kind = "--bind" if is_writable and not mount.get("readOnly") else "--ro-bind"
            words += [kind, str(directory), mount["mountPath"]]
        for path in self.node.shared:
            words += ["--bind", str(path), str(path)]
        words += [
            *_trees(),
            "--remount-ro",
            "/",
            "--chdir",
            "/",
            "--",
            sys.executable,
            "-m",
            "pgvault",
            *container["args"],
        ]
        paths = f"{ROOT}:{sysconfig.get_paths()['purelib']}"
        return words, IMAGE_VARIABLES | KUBERNETES_VARIABLES | {"PYTHONPATH": paths} | self._variables(container)

    def _directory(self, name: str) -> tuple[Path, bool]:
        # A StatefulSet's volume is a claim of its template.
        return self.volumes[name] if name in self.volumes else (self.node.claim(f"{name}-{self.work.name}-0"), True)

    def _variables(self, container: Container) -> dict[str, str]:
        found = {}
        for each in container["env"]:
            reference = each.get("valueFrom", {}).get("secretKeyRef")
            found[each["name"]] = (
                each["value"]
                if reference is None
                else (self.node.secrets[reference["name"]] / reference["key"]).read_text()
            )
        return found


@dataclass(frozen=True, slots=True)
class Service:
    """A container that runs until it is told to end."""

    process: Process
    log: Path

    def wait_until(self, claim: Callable[[], object], *, seconds: float = 120) -> None:
        """Wait until something holds, as long as it runs."""
        deadline = time.monotonic() + seconds
        while not claim():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def terminate(self, grace_seconds: float) -> int:
        """Send SIGTERM to the container's own process as Kubernetes does, and return its exit status in time."""
        (first,) = children(self.process.pid)  # bubblewrap's, which is process 1 inside
        (main,) = children(first)
        os.kill(main, signal.SIGTERM)
        return self.process.wait(grace_seconds)


def _image() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    for name in ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


def _trees() -> list[str]:
    """Where we run from: after the pod's own mounts, since a checkout may lie in /tmp."""
    trees = {ROOT, Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_paths()["purelib"])}
    found = sorted({path for each in trees for path in (each, each.resolve()) if not path.is_relative_to("/usr")})
    return [word for path in found for word in ("--ro-bind", str(path), str(path))]
