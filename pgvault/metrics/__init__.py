"""Metrics: what the findings of `status` measured, for Prometheus."""
