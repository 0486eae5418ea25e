"""Benchmarks: one file a claim, and one command that runs them, `python -m benchmarks`."""
