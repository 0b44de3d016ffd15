from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helm.cases import BASE, CASES, CLAIMS, REFUSED, SECRETS
from tests.helm.chart import (
    EXAMPLES,
    Document,
    Rendered,
    Values,
    call_helm,
    complaints,
    refusal,
    render_file,
    workloads,
    write_values,
)
from tests.helm.pods import dangling, misnamed, unselected, weaknesses

pytestmark = pytest.mark.endurance

NAMES = [*CASES, *(path.stem for path in EXAMPLES)]
# Names as they may be, which YAML takes for numbers and truths where nobody quotes them.
NUMBERS = {
    "image": {"pullSecrets": ["1e3"]},
    "pod": {"priorityClassName": "on"},
    "scratch": {"storageClass": "7"},
    "stream": {"storageClass": "true"},
    "restore": {"cluster": "main", "to": "latest", "claim": "1", "runAsUser": 999},
}


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest, case_of: Callable[[str], tuple[Path, Rendered]]) -> tuple[Path, Rendered]:
    """A file of values, and what they become."""
    return case_of(request.param)


@pytest.fixture
def rendered(case: tuple[Path, Rendered]) -> Rendered:
    """What the values become."""
    return case[1]


@pytest.fixture
def is_example(case: tuple[Path, Rendered]) -> bool:
    """Whether these are values that users begin with."""
    return case[0] in EXAMPLES


def test_an_api_server_takes_it(case_of: Callable[[str], tuple[Path, Rendered]], schemas: Path, tmp_path: Path) -> None:
    """Every document of every case, by the strict schema of its kind."""
    found = [case_of(name)[1] for name in NAMES]
    for number, each in enumerate(found):
        (tmp_path / f"{number}.yaml").write_text(each.text)

    assert complaints(schemas, sorted(tmp_path.iterdir()), count=sum(len(each.documents) for each in found)) == []


def test_pods_are_restricted(rendered: Rendered) -> None:
    """Every pod keeps the restricted standard, and every container calls pgvault once, without a shell."""
    found = list(workloads(rendered))

    assert found or not rendered.of("ConfigMap")
    assert [f"{each.kind} {each.name}: {weak}" for each in found for weak in weaknesses(each.pod)] == []


def test_all_that_is_referred_to_is_there(rendered: Rendered, is_example: bool) -> None:
    """ConfigMaps, volumes, accounts; Secrets and claims are the user's."""
    complaints = list(dangling(rendered, SECRETS, CLAIMS))
    theirs = ("no Secret",) if is_example else ("'theirs'",)  # an account that others made; an example's own Secrets

    assert [each for each in complaints if not any(word in each for word in theirs)] == []


def test_names_fit(rendered: Rendered) -> None:
    """At most 52 characters, no two alike; labels and ports as Kubernetes wants them."""
    assert list(misnamed(rendered)) == []


def test_selectors_select(rendered: Rendered) -> None:
    """One workload each, and none by accident that of another cluster."""
    assert list(unselected(rendered)) == []


def test_streams_are_stateful_and_single(rendered: Rendered) -> None:
    """One replica with a volume that stays, never a Deployment: two receivers on one slot lose WAL."""
    streams = [each for each in workloads(rendered) if any(c["args"][:2] == ["wal", "stream"] for c in each.containers)]

    assert {each.kind for each in streams} <= {"StatefulSet"}
    for each in streams:
        spec = rendered.named("StatefulSet", each.name)["spec"]
        assert spec["replicas"] == 1
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert spec["updateStrategy"]["type"] in ("RollingUpdate", "OnDelete")
        (claim,) = spec["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] in (["ReadWriteOnce"], ["ReadWriteOncePod"])
        assert each.pod["terminationGracePeriodSeconds"] >= 60


def test_jobs_end_and_do_not_pile_up(rendered: Rendered) -> None:
    """No two of a kind, a deadline, few retries, and nothing is kept for ever."""
    for each in rendered.of("CronJob"):
        spec = each["spec"]
        job = spec["jobTemplate"]["spec"]
        assert spec["concurrencyPolicy"] == "Forbid"
        assert 60 <= spec["startingDeadlineSeconds"] <= 86400
        assert 0 <= job["backoffLimit"] <= 2
        assert 60 <= job["activeDeadlineSeconds"] <= 86400
        assert spec["successfulJobsHistoryLimit"] <= 3
        assert spec["failedJobsHistoryLimit"] <= 5
        assert job["ttlSecondsAfterFinished"] > 0
        assert job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", ["base", "everything", "restore", *(path.stem for path in EXAMPLES)])
def test_lint_finds_nothing(name: str, case_of: Callable[[str], tuple[Path, Rendered]]) -> None:
    """No warning either."""
    finished = call_helm("lint", case_of(name)[0], "--strict", "--quiet")

    assert finished.status == 0, finished.output + finished.errors


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_meant_is_refused(name: str, tmp_path: Path) -> None:
    """By a sentence that names the key."""
    values, named = REFUSED[name]

    assert named in refusal(tmp_path, values)


def test_a_release_may_be_called_anything(schemas: Path, tmp_path: Path) -> None:
    """Also what YAML takes for something else than a word; but for what no Service may be called."""
    rendered = render_file(write_values(tmp_path, {**CASES["everything"], **NUMBERS}), release="null")
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered.text)

    assert complaints(schemas, [path], count=len(rendered.documents)) == []
    assert list(misnamed(rendered)) == []
    assert list(unselected(rendered)) == []
    assert "nameOverride" in refusal(tmp_path, BASE, release="2024")


def test_the_repository_is_made_once(case_of: Callable[[str], tuple[Path, Rendered]]) -> None:
    """By a hook of the installation alone: after an upgrade, a mistyped url must fail, and not get an empty one."""
    job = case_of("base")[1].one("Job")

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["init"]
    hooks = {"helm.sh/hook": "post-install", "argocd.argoproj.io/hook": "Skip"}
    assert hooks.items() <= job["metadata"]["annotations"].items()
    assert not case_of("no init")[1].of("Job")


def test_nothing_is_rendered_of_a_restore_that_nobody_wants(tmp_path: Path) -> None:
    """A Job that restores is there only while `restore:` is."""

    def restores(values: Values) -> list[Document]:
        jobs = render_file(write_values(tmp_path, values)).of("Job")
        return [each for each in jobs if each["metadata"]["labels"]["app.kubernetes.io/component"] == "restore"]

    assert restores(BASE) == []
    restore = {"cluster": "main", "to": "2025-10-25T10:00", "claim": "restored", "runAsUser": 999}
    (job,) = restores({**BASE, "restore": restore})

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "restore"
    assert container["args"][container["args"].index("--to") + 1] == "2025-10-25T10:00"
    assert {"--finish", "--cluster", "main"} <= set(container["args"])
    context = job["spec"]["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["fsGroup"]) == (999, 999)
