"""What starts pgvault at its times: systemd, cron, and (by the chart in helm/) Kubernetes."""
