"""Integrity checks: what a query returns, measured and judged, in a drill's scratch or, read-only, on a live server."""
