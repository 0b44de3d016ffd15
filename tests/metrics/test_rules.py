from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.metrics.names import all_names
from pgvault.metrics.rule import WATCHED, Rule, labels_of
from pgvault.metrics.rules import rule_file
from pgvault.metrics.ruletable import COLLECTED, RULES, WHOLE
from pgvault.process import attempt
from tests.cli.here import pgvault
from tests.metrics.rulecases import CASES, Series

README = Path(__file__).resolve().parents[2] / "README.md"
EVERY = [*RULES, *WHOLE]
INTERVAL, EVALUATED, LATER = "5m", "20m", "80m"  # the last is longer than any rule waits
SERIES = re.compile(r"\b((?:pgvault|data_integrity)_[a-z_]+)(\{[^}]*\})?")
README_ROW = re.compile(
    r'^\| <a id="(?P<anchor>\w+)"></a>`(?P<alert>\w+)` \| (?P<severity>[^|,]+), (?P<lasting>\w+) \| (?P<first>.+) \|$',
    re.MULTILINE,
)
FEW = 50  # a table over nothing would prove nothing

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def alerts() -> list[dict[str, Any]]:
    return [alert for group in yaml.safe_load(rule_file())["groups"] for alert in group["rules"]]


def constant(series: str, value: float, **labels: str) -> dict[str, str]:
    """A series that does not change, as promtool writes it."""
    name, _, rest = series.partition("{")
    inner = ",".join([*(f'{label}="{text}"' for label, text in labels.items()), *([rest[:-1]] if rest else [])])
    text = "+Inf" if math.isinf(value) else f"{value:g}"
    return {"series": f"{name}{{{inner}}}", "values": " ".join([text] * 17)}


def of_cluster(rule: Rule, cluster: str, series: Series) -> list[dict[str, str]]:
    watched = f'{WATCHED}{{what="{rule.watched}"}}'
    return [constant(name, value, cluster=cluster) for name, value in {watched: 1.0, **series}.items()]


def expect(expr: str, labels: list[Mapping[str, str]], *, at: str = LATER) -> dict[str, Any]:
    """Expect exactly these label sets, each with the value 1."""
    texts = ["{" + ", ".join(f'{name}="{value}"' for name, value in each.items()) + "}" for each in labels]
    return {"expr": expr, "eval_time": at, "exp_samples": [{"labels": text, "value": 1} for text in texts]}


def firing(alert: str, by: str = "cluster", *, only: str = "") -> str:
    """Where an alert fires, of series with these labels only."""
    return f'group by ({by}) (ALERTS{{alertname="{alert}",alertstate="firing"{only}}})'


def fleet() -> dict[str, Any]:
    """The clusters of all cases side by side: one that lacks a metric must not hide behind another.

    promtool takes as long for one case as for all of them, so they share their time.
    """
    series: list[dict[str, str]] = []
    expected: list[dict[str, Any]] = []
    for rule in RULES:
        case = CASES[rule.alert]
        lost, unwatched = f"{rule.alert}/lost", f"{rule.alert}/unwatched"
        for name, each in {**case.fires, **case.silent}.items():
            series += of_cluster(rule, f"{rule.alert}/{name}", each)
        series += of_cluster(rule, lost, {})
        series += [constant(name, 1, cluster=unwatched) for name in next(iter(case.silent.values()))]
        own = f',cluster=~"{rule.alert}/.*",cluster!="{unwatched}"'
        named = "".join(f',{label}!=""' for label in sorted(labels_of(rule.summary + rule.description)))
        expected += [
            expect(firing(rule.alert, only=own), [], at="0m"),
            expect(firing(rule.alert, only=own), [{"cluster": f"{rule.alert}/{name}"} for name in case.fires]),
            # What its texts name is there to be named.
            expect(firing(rule.alert, only=own + named), [{"cluster": f"{rule.alert}/{name}"} for name in case.fires]),
            expect(firing(rule.twin, only=f',cluster=~"{rule.alert}/.*"'), [{"cluster": lost}]),
        ]
    return {"interval": INTERVAL, "input_series": series, "promql_expr_test": expected}


def nothing_at_all() -> dict[str, Any]:
    """Nobody exports anything: every twin fires, and says so of every cluster."""
    return {
        "interval": INTERVAL,
        "input_series": [constant("up", 1)],
        "promql_expr_test": [
            *(expect(firing(rule.twin), [{}]) for rule in RULES),
            *(expect(firing(rule.alert), []) for rule in EVERY if rule.alert != "PgvaultMetricsAbsent"),
            expect(firing("PgvaultMetricsAbsent"), [{}]),
        ],
    }


def run(tmp_path: Path, tests: list[dict[str, Any]]) -> str:
    """Let promtool test the rules; return what it complains about."""
    rules, cases = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    rules.write_text(rule_file())
    document = {"rule_files": [str(rules)], "evaluation_interval": EVALUATED, "tests": tests}
    cases.write_text(yaml.safe_dump(document))
    finished = attempt(["promtool", "test", "rules", str(cases)], timeout=120)
    return "" if finished.status == 0 else finished.output + finished.errors


def watching() -> Iterator[dict[str, Any]]:
    """Metrics that stop, clusters that vanish."""
    gone = " ".join(["1"] * 4)  # for the first quarter of an hour
    there = constant(f'{WATCHED}{{what="backup"}}', 1, cluster="stays")
    vanished = {**constant(f'{WATCHED}{{what="backup"}}', 1, cluster="vanished"), "values": gone}
    for collected, failed, is_stale in ((80 * 60, 0, False), (30 * 60, 0, True), (80 * 60, 1, True)):
        yield {
            "interval": INTERVAL,
            "input_series": [
                there,
                vanished,
                constant(COLLECTED, collected, instance="host"),
                constant("pgvault_metrics_collection_failed", failed, instance="host"),
            ],
            "promql_expr_test": [
                expect(firing("PgvaultMetricsStale", "instance"), [{"instance": "host"}] if is_stale else []),
                expect(firing("PgvaultMetricsAbsent"), []),
                expect(firing("PgvaultClusterVanished"), [{"cluster": "vanished"}]),
            ],
        }
    yield {  # clusters, and nobody knows when they were looked at
        "interval": INTERVAL,
        "input_series": [there],
        "promql_expr_test": [expect(firing("PgvaultMetricsAbsent"), [{}])],
    }


@needs_promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """The file is what promtool checks without a word of complaint."""
    path = tmp_path / "rules.yaml"
    path.write_text(rule_file())

    finished = attempt(["promtool", "check", "rules", str(path)], timeout=60)

    assert finished.status == 0, finished.errors
    assert f"{2 * len(RULES) + len(WHOLE)} rules found" in finished.output + finished.errors


@needs_promtool
def test_every_rule_fires_when_it_must_and_is_silent_when_it_must(tmp_path: Path) -> None:
    """In a fleet: for each cluster that is badly off, for no other, and its twin for the one that lacks the metric."""
    assert run(tmp_path, [fleet(), nothing_at_all(), *watching()]) == ""


@needs_promtool
def test_a_wrong_rule_is_noticed(tmp_path: Path) -> None:
    """The cases are no formality: promtool complains where what they expect is wrong."""
    case = nothing_at_all()
    case["promql_expr_test"] = [expect(firing(RULES[0].twin), [])]

    assert "FAILED" in run(tmp_path, [case])


def test_every_rule_has_a_case() -> None:
    """Nobody adds a rule without showing that it fires."""
    assert set(CASES) == {rule.alert for rule in RULES}
    assert all(case.fires and case.silent for case in CASES.values())


def test_every_alert_says_what_is_at_risk_and_where_to_look() -> None:
    """Severity, `for`, one sentence, a description and a link, in each of them; names are unique."""
    found = alerts()

    assert len({alert["alert"] for alert in found}) == len(found) > FEW
    for alert in found:
        notes = alert["annotations"]
        assert alert["labels"]["severity"] in {"critical", "warning", "{{ $labels.severity }}"}
        assert re.fullmatch(r"[1-9]\d*[mh]", alert["for"])
        assert notes["summary"].endswith(".")
        assert ". " not in notes["summary"].replace("{{ . }}", "")
        assert notes["description"].endswith(".")
        assert notes["runbook_url"].partition("#")[2]


def test_every_rule_has_a_twin_that_asks_for_its_metric() -> None:
    """absent() of the very metric that the rule reads, and the clusters that should have it."""
    by_name = {alert["alert"]: alert for alert in alerts()}
    for rule in RULES:
        twin = by_name[rule.twin]
        assert f"absent({rule.metric})" in twin["expr"]
        assert twin["labels"]["absent"] == rule.alert
        assert rule.metric in rule.expr


def test_every_metric_of_a_rule_is_one_that_is_exported() -> None:
    """A rule over a name that nobody exports is silent for ever; so is one that loses a label when it is scraped."""
    exported = all_names()
    for rule in EVERY:
        for name, inner in SERIES.findall(rule.expr + rule.explained):
            assert name in exported, f"{rule.alert}: {name}"
            assert set(re.findall(r"(\w+)=", inner)) <= set(exported[name]), f"{rule.alert}: {name}{inner}"
    for name, labels in exported.items():
        assert not {"instance", "job"}.intersection(labels), f"{name}: Prometheus has its own labels of that name"


def test_the_rule_that_people_have_is_exactly_theirs() -> None:
    """`data_integrity_check_failures > 0` for 5 minutes; the severity is the check's own."""
    (theirs,) = (alert for alert in alerts() if alert["alert"] == "DataInconsistencyDetected")

    assert theirs["expr"] == "data_integrity_check_failures > 0"
    assert theirs["for"] == "5m"
    assert theirs["labels"] == {"severity": "{{ $labels.severity }}"}


def test_links_lead_where_they_are_told_to() -> None:
    """`--runbook-url` is what they begin with."""
    for group in yaml.safe_load(rule_file("https://wiki.example/pgvault"))["groups"]:
        for alert in group["rules"]:
            assert alert["annotations"]["runbook_url"].startswith("https://wiki.example/pgvault#")


def test_the_order_is_stable() -> None:
    """Two printings differ only where a rule does."""
    assert rule_file() == rule_file()
    assert [alert["alert"] for alert in alerts()][: len(RULES)] == [rule.alert for rule in RULES]


def test_the_command_prints_them() -> None:
    """`pgvault metrics rules` needs no configuration."""
    finished = pgvault("metrics", "rules", "--runbook-url", "https://wiki.example/pgvault")

    assert finished.status == 0, finished.errors
    assert yaml.safe_load(finished.output) == yaml.safe_load(rule_file("https://wiki.example/pgvault"))


def test_the_readme_says_what_to_do_first() -> None:
    """A row for each rule, in its order, with its severity, how long it must hold, and a sentence; no other rows."""
    told = {row["alert"]: row for row in README_ROW.finditer(README.read_text())}

    assert list(told) == [rule.alert for rule in EVERY]
    for rule in EVERY:
        severity = "the check's" if rule.is_severity_its_own else rule.severity.value
        row = told[rule.alert]
        assert (row["anchor"], row["severity"], row["lasting"]) == (rule.anchor, severity, rule.lasting)
        assert row["first"].endswith((".", "?"))


def test_every_link_leads_somewhere() -> None:
    """The README has each anchor once."""
    text = README.read_text()
    for alert in alerts():
        base, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert base == README.name
        assert text.count(f'<a id="{anchor}"></a>') == 1


def test_the_severity_of_a_rule_is_that_of_its_twin() -> None:
    """Not to know is as bad as what may be hidden by it; a check's own severity is gone with its series."""
    by_name = {alert["alert"]: alert for alert in alerts()}
    for rule in RULES:
        assert by_name[rule.twin]["labels"]["severity"] == rule.severity.value
