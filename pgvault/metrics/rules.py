"""The alert rules as a Prometheus rule file: every rule of the table with its twin, and what watches the watching.

The order is that of the table, so that two printings can be compared. Nothing in the file depends on a configuration:
limits are exported by the clusters themselves (see `rule`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pgvault.metrics.rule import Rule, template
from pgvault.metrics.ruletable import RULES, WHOLE

README = "README.md"  # whoever serves it elsewhere says where: the links of a page at night must open
ABSENT_ANCHOR = "a-metric-is-absent"
TWIN_LASTING = "15m"  # a look that failed once is no news, and an exporter may be restarted


def rule_file(base: str = README) -> str:
    """Return the rule file; links to what to do first begin with `base`."""
    groups = [
        {"name": "pgvault", "rules": [_alert(rule, base) for rule in RULES]},
        {"name": "pgvault-absent", "rules": [_twin(rule, base) for rule in RULES]},
        {"name": "pgvault-watching", "rules": [_alert(rule, base) for rule in WHOLE]},
    ]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=1_000_000)


def anchors() -> Iterator[str]:
    """Yield every place that the links lead to."""
    yield from (rule.anchor for rule in (*RULES, *WHOLE))
    yield ABSENT_ANCHOR


def _alert(rule: Rule, base: str) -> Mapping[str, Any]:
    # A rule's label takes the place of the series' own: that of a check is what its readers route by.
    severity = template("{severity}") if rule.is_severity_its_own else rule.severity.value
    return {
        "alert": rule.alert,
        "expr": rule.expr,
        "for": rule.lasting,
        "labels": {"severity": severity},
        "annotations": {
            "summary": template(rule.summary),
            "description": template(rule.description),
            "runbook_url": f"{base}#{rule.anchor}",
        },
    }


def _twin(rule: Rule, base: str) -> Mapping[str, Any]:
    # Not to know whether it is well is as bad as the worst that may be hidden by it.
    return {
        "alert": rule.twin,
        "expr": rule.twin_expr,
        "for": TWIN_LASTING,
        "labels": {"severity": rule.severity.value, "absent": rule.alert},
        "annotations": {
            "summary": f"{_whose()}: nobody would hear of {rule.alert}, since {rule.metric} is not exported.",
            "description": f"The rule {rule.alert} is silent because its metric is gone, not because all is well.",
            "runbook_url": f"{base}#{ABSENT_ANCHOR}",
        },
    }


def _whose() -> str:
    return "{{ with $labels.cluster }}Cluster {{ . }}{{ else }}Every cluster{{ end }}"
