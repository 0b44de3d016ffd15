"""`pgvault metrics`: what `status` finds, for Prometheus. Alert rules and a dashboard on it are printed, too."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pgvault.cli import render
from pgvault.cli.logs import setup_logging
from pgvault.cli.options import ClusterOption, ConfigOption, source_of
from pgvault.cli.signals import setting_on_signals
from pgvault.cli.status import chosen, statuses_of
from pgvault.config import ClusterConfig, Config
from pgvault.errors import UsageError
from pgvault.instants import SystemClock, parse_duration
from pgvault.metrics.dashboard import dashboard as dashboard_document
from pgvault.metrics.delivering import check_gateway, write_textfile
from pgvault.metrics.delivering import push as push_metrics
from pgvault.metrics.exposition import Collected, expose
from pgvault.metrics.rules import README, rule_file
from pgvault.metrics.serving import Listen
from pgvault.metrics.serving import serve as serve_metrics
from pgvault.metrics.values import make_families, watched_family
from pgvault.metrics.watched import watched

LEAST_INTERVAL = timedelta(seconds=1)

metrics = typer.Typer(
    name="metrics",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@metrics.callback()
def export(
    ctx: typer.Context,
    textfile: Annotated[
        Path | None, typer.Option("--textfile", help="Write them there, for node-exporter's textfile collector.")
    ] = None,
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Print every metric of every configured cluster, as Prometheus reads them.

    What they tell is what `pgvault status` finds; they were collected whatever it is, so the exit status is 0.

    Example: pgvault metrics --textfile /var/lib/node-exporter/pgvault.prom
    """
    if ctx.invoked_subcommand is not None:
        return
    loaded = source_of(ctx, config).load()
    collected = collect(loaded, chosen(loaded, cluster))
    if textfile is None:
        render.write_lines(expose(collected).decode().splitlines())
    else:
        write_textfile(textfile, collected)


@metrics.command()
def serve(
    ctx: typer.Context,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where; port 0 takes any that is free.")
    ] = "127.0.0.1:9187",
    interval: Annotated[str, typer.Option("--interval", help="How often they are collected.")] = "60s",
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Serve the metrics to Prometheus, at /metrics: in the foreground, for systemd, until SIGTERM.

    They are collected in the background; a scrape never waits for a store or a server. The configuration is read anew
    each time: a cluster that was added is watched at once, and one that can not be read any more is a failure.

    Example: pgvault metrics serve --listen 0.0.0.0:9187
    """
    setup_logging(is_verbose=True)  # a service tells what it does
    source = source_of(ctx, config)
    chosen(source.load(), cluster)  # what is wrong from the beginning is told at once
    every, address = parse_duration(interval), Listen.parse(listen)
    if every < LEAST_INTERVAL:
        raise UsageError(f"{interval!r} is too often", hint="Write 60s, or whatever Prometheus scrapes at.")

    def look() -> Collected:
        loaded = source.load()
        return collect(loaded, chosen(loaded, cluster))

    with setting_on_signals(otherwise="stopped") as stop:
        serve_metrics(address, look, interval=every, stop=stop)
        os._exit(0)  # a collection that waits for a dead region is left behind: it writes nothing


@metrics.command()
def push(
    ctx: typer.Context,
    gateway: Annotated[str, typer.Option("--gateway", metavar="URL", help="The Pushgateway.")],
    config: ConfigOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Push the metrics to a Pushgateway, for CronJobs: those of each cluster replace what it had of that cluster.

    Example: pgvault metrics push --gateway http://pushgateway:9091
    """
    check_gateway(gateway)
    loaded = source_of(ctx, config).load()
    for name, config_of in chosen(loaded, cluster).items():
        push_metrics(gateway, name, collect(loaded, {name: config_of}))


@metrics.command()
def rules(
    runbook_url: Annotated[
        str, typer.Option("--runbook-url", metavar="URL", help="Where this README is served: links begin with it.")
    ] = README,
) -> None:
    """Print the alert rules on these metrics, as a Prometheus rule file. They are the same for every configuration.

    Example: pgvault metrics rules > /etc/prometheus/rules/pgvault.yaml
    """
    render.write_lines(rule_file(runbook_url).splitlines())


@metrics.command()
def dashboard(
    runbook_url: Annotated[
        str, typer.Option("--runbook-url", metavar="URL", help="Where this README is served: links begin with it.")
    ] = README,
) -> None:
    """Print a Grafana dashboard of these metrics. It is the same for every configuration.

    Example: pgvault metrics dashboard > /var/lib/grafana/dashboards/pgvault.json
    """
    render.write_lines(dashboard_document(runbook_url).splitlines())


def collect(loaded: Config, clusters: dict[str, ClusterConfig]) -> Collected:
    """Look at clusters as `status` does, and return what was found as metrics."""
    began, at = time.monotonic(), SystemClock().now()
    families = (*make_families(statuses_of(loaded, clusters), clusters), watched_family(watched(loaded, clusters)))
    return Collected(families, at, time.monotonic() - began)
