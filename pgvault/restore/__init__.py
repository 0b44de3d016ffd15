"""Restoring: where to stop, on which timelines, from which backup; then the bytes, then the proof of arrival."""
