"""Compares fastem with its peers on this machine: `python -m asv_benchmarks.report`."""
