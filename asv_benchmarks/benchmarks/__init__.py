"""Benchmarks for airspeed velocity; `data` and `peers` are shared with the report."""
