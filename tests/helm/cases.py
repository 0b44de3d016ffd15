"""Values that the chart must render: what everybody writes, every switch the other way, and odd names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.helm.chart import Values, merged

CHECK = {"name": "orphans", "severity": "critical", "threshold": 0, "query": "SELECT count(*) FROM orders"}
COPIES = {
    "primary": {"url": "s3://bucket/prefix", "region": "eu-central-1"},
    "second": {"url": "s3://other/prefix", "region": "eu-west-1", "mode": "sync"},
}
KEY = "file:/etc/pgvault/secrets/pgvault/key"
CONFIG = {
    "repository": {"key": KEY, "copies": COPIES},
    "audit": {"key": "file:/etc/pgvault/secrets/pgvault/audit.key"},
    "timezone": "Europe/Berlin",
}
DSN = "host=main-rw.db user=pgvault dbname=postgres sslmode=verify-full"
MAIN = {
    "name": "main",
    "config": {"dsn": DSN, "password": "file:/etc/pgvault/secrets/pgvault/main", "checks": [CHECK]},
}
BASE: Values = {"config": CONFIG, "clusters": [MAIN], "secrets": [{"name": "pgvault"}]}

SECRETS = frozenset({"pgvault", "s3", "own", "tls"})
CLAIMS = frozenset({"restored"})
# Of the form that pgvault allows; what Kubernetes would not take as a name or a label is in here.
ODD_NAMES = ("0", "a_b", "a-b", "a--b", "end-", "end_", "2024-orders_eu", "x" * 63, "x" * 62 + "y", "a" * 30 + "_" * 33)
ALL: Mapping[str, Any] = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example/pgvault"},
    "grafana": {"enabled": True},
    "networkPolicy": {"enabled": True},
}
ALERTS = {"receivers": {"desk": {"webhook": "env:WEBHOOK"}}, "default": "desk"}
JOBS = ("backup", "logical", "schema", "drill", "verify", "expire", "copy", "checks")


def one(entry: Values | None = None, **values: Any) -> Values:
    """Return values of one cluster, over the base."""
    return merged(BASE, {**values, "clusters": [merged(MAIN, entry or {})]})


CASES: dict[str, Values] = {
    "base": BASE,
    "no cluster yet": merged(BASE, {"clusters": []}),
    "everything": one(**ALL, config={"alerts": ALERTS}, secrets=[{"name": "pgvault"}, {"name": "s3"}]),
    "one copy": {**BASE, "config": {**CONFIG, "repository": {"key": KEY, "copies": {"primary": COPIES["primary"]}}}},
    "no checks": one({"config": {"checks": []}}),
    "no time zone": one(config={"timezone": None}),
    "all jobs off": one({"schedule": dict.fromkeys(JOBS, "off")}),
    "off as YAML reads it": one({"schedule": {"drill": False}}),
    "schedules said": one(
        {"schedule": {"backup": "daily", "drill": "@weekly", "verify": "5 4 1,15 JUL-DEC sun", "copy": "hourly"}}
    ),
    "a schedule in the configuration": one({"config": {"schedule": {"backup": "30 2 * * *"}}}),
    "logical alone": one({"config": {"source": "logical"}}),
    "no stream": one({"stream": {"enabled": False}}),
    "stream's volume": one({"stream": {"size": "100Gi", "storageClass": "fast", "resources": {}}}),
    "stream tuned": one({"config": {"stream": {"slot": "backup_1", "every": "5s", "beacon": "10s"}}}),
    "scratch": one({"drill": {"scratch": {"size": "1Ti", "storageClass": "fast"}, "deadline": 7200}}),
    "scratch on the node": one(scratch={"size": ""}),
    "defaults": merged(
        BASE,
        {
            "defaults": {"schedule": {"drill": "off"}, "config": {"objectives": {"rpo": "5m"}}},
            "clusters": [MAIN, {"name": "second", "config": {"dsn": DSN}, "schedule": {"drill": "weekly"}}],
        },
    ),
    "odd names": merged(BASE, {"clusters": [{"name": name, "config": {"dsn": DSN}} for name in ODD_NAMES]}),
    "another name": one(nameOverride="a-name-that-is-much-longer-than-anybody-needs-it-to-be"),
    "no init": one(init={"enabled": False}),
    "no metrics": one(metrics={"enabled": False}),
    "alerts": one(config={"alerts": ALERTS}, secrets=[{"name": "s3", "env": {"WEBHOOK": "url"}}]),
    "alerts off": one(config={"alerts": ALERTS}, alerts={"enabled": False}),
    "a cluster's secrets": one({"secrets": [{"name": "own", "mount": "elsewhere"}, {"name": "tls"}]}),
    "secrets as variables": one(
        secrets=[{"name": "s3", "env": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "k"}}]
    ),
    "workload identity": one(
        serviceAccount={
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/pgvault"},
            "labels": {"a": "b"},
        },
    ),
    "an account of others": one(serviceAccount={"create": False, "name": "theirs"}),
    "digest": one(image={"digest": "sha256:" + "0" * 64, "pullSecrets": ["tls"], "pullPolicy": "Always"}),
    "network": one(
        networkPolicy={
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
            "extraEgress": [{"ports": [{"port": 587}]}],
        }
    ),
    "pods": one(
        pod={
            "labels": {"team": "dba"},
            "annotations": {"a": "b"},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "backup", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "low",
            "runAsUser": 1000660000,
        }
    ),
    "more": one(
        extraEnv=[{"name": "PGSSLROOTCERT", "value": "/etc/ssl/db/ca.crt"}],
        extraVolumes=[{"name": "ca", "secret": {"secretName": "tls"}}],
        extraVolumeMounts=[{"name": "ca", "mountPath": "/etc/ssl/db", "readOnly": True}],
    ),
    "restore": one(restore={"cluster": "main", "to": "2025-10-25T10:00", "claim": "restored", "runAsUser": 999}),
    "restore with options": one(
        restore={
            "cluster": "main",
            "to": "latest",
            "claim": "restored",
            "runAsUser": 26,
            "runAsGroup": 27,
            "mountPath": "/var/lib/postgresql",
            "directory": "data",
            "args": ["--timeline", "3"],
            "resources": {"limits": {"memory": "4Gi"}, "requests": {"cpu": 1, "memory": "1Gi"}},
        }
    ),
    "text logs": one(logFormat="text", successfulJobs=0, failedJobs=1, jobsKeptSeconds=60),
    "spread over hours": one(spreadHours=6),
}

# Values, and what Helm's complaint must name.
REFUSED: dict[str, tuple[Values, str]] = {
    "no repository": (merged(BASE, {"config": {"repository": None}}), "repository"),
    "no copies": ({**BASE, "config": {"repository": {"key": KEY, "copies": {}}}}, "copies"),
    "clusters as a mapping": (merged(BASE, {"clusters": {"main": {}}}), "clusters"),
    "a cluster without a name": (merged(BASE, {"clusters": [{"config": {"dsn": DSN}}]}), "name"),
    "a cluster without a dsn": (merged(BASE, {"clusters": [{"name": "main", "config": {}}]}), "dsn"),
    "one cluster twice": (merged(BASE, {"clusters": [MAIN, MAIN]}), "main"),
    "capital letters": (merged(BASE, {"clusters": [merged(MAIN, {"name": "Main"})]}), "name"),
    "an unknown key": (one(metrisc={"enabled": False}), "metrisc"),
    "an unknown key below": (one(metrics={"enable": False}), "enable"),
    "an unknown key of a cluster": (one({"shedule": {}}), "shedule"),
    "an unknown job": (one({"schedule": {"bakcup": "daily"}}), "bakcup"),
    "clusters in the configuration": (one(config={"clusters": {"main": {"dsn": DSN}}}), "clusters"),
    "a password in clear": (one({"config": {"password": "secret"}}), "password"),
    "a key in clear": (one(config={"repository": {"key": "secret"}}), "key"),
    "no schedule that cron knows": (one({"schedule": {"backup": "dialy"}}), "backup"),
    "Sunday by a seven": (one({"schedule": {"backup": "0 1 * * 5-7"}}), "Sunday is 0"),
    "the last day": (one({"schedule": {"backup": "0 1 L * *"}}), "no L"),
    "the second Monday": (one({"schedule": {"backup": "0 1 * * 1#2"}}), "numbers"),
    "every other day, and Monday": (one({"config": {"schedule": {"backup": "0 1 */2 * 1"}}}), "weekday"),
    "a switch that is none": (one(networkPolicy={"enabled": "perhaps"}), "enabled"),
    "root": (one(pod={"runAsUser": 0}), "runAsUser"),
    "restore to nowhere": (one(restore={"cluster": "main", "to": "latest", "runAsUser": 999}), "claim"),
    "restore of nothing": (one(restore={"to": "latest", "claim": "restored", "runAsUser": 999}), "cluster"),
    "restore to no time": (one(restore={"cluster": "main", "claim": "restored", "runAsUser": 999}), "to"),
    "restore for nobody": (one(restore={"cluster": "main", "to": "latest", "claim": "restored"}), "runAsUser"),
    "restore as root": (
        one(restore={"cluster": "main", "to": "latest", "claim": "restored", "runAsUser": 0}),
        "runAsUser",
    ),
    "restore of a stranger": (
        one(restore={"cluster": "stranger", "to": "latest", "claim": "restored", "runAsUser": 999}),
        "stranger",
    ),
    "restore of dumps": (
        one(
            defaults={"config": {"source": "logical"}},
            restore={"cluster": "main", "to": "latest", "claim": "restored", "runAsUser": 999},
        ),
        "--logical",
    ),
    "a secret without a name": (one(secrets=[{"mount": "pgvault"}]), "name"),
}
