"""Benchmarks for airspeed velocity; `data`, `measure` and the peers are shared with the report."""

from . import blas

blas.remove_limits()

# Loaded here, for two reasons: threads can be limited only of libraries that are loaded, and
# processes forked by `asv run --launch-method=forkserver` share what is.
import numba  # noqa: E402, F401
import sklearn.cluster  # noqa: E402
import sklearn.mixture  # noqa: E402, F401
