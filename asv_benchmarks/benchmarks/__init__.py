"""Benchmarks for airspeed velocity; `data`, `measure` and the peers are shared with the report."""

# Loaded here, for two reasons: threads can be limited only of libraries that are loaded, and
# processes forked by `asv run --launch-method=forkserver` share what is.
import numba  # noqa: F401
import sklearn.cluster
import sklearn.mixture  # noqa: F401
