"""Every public kernel: its time, and its share of what the machine can do at most.

The limit is the longer of two times: what the work would take at the machine's peak of
multiplications and additions, and what reading the input and writing the output once would take at
its memory bandwidth. The work is counted in instructions for the units that multiply and add; each
could do one of both, hence two flops. A squared distance takes one a feature (the subtraction can
run on other units, as on AMD's), an L1 distance two, a log-density of a full covariance one for
each element of a triangle, and exponentials none: those are not in the limit, and neither is
centring.
"""

import numpy as np

from . import data, machine, measure
from .machine import Work

# (rows, features, components)
SHAPES = {"few features": (400_000, 3, 16), "many features": (30_000, 64, 64)}


def _rows(shape, dtype):
    return data.make_rows(data.Cell(*shape, "overlapping", dtype))


def _instructions(count):
    return 2.0 * count


def _bytes(*arrays):
    return float(sum(array.nbytes for array in arrays))


def _distances(instructions_a_feature):
    def problem(n, d, k, dtype):
        X = _rows((n, d, k), dtype)
        Y = data.starting_centers(X, k)
        output = n * k * X.itemsize
        return (X, Y), Work(_instructions(instructions_a_feature * n * d * k), X.nbytes + output)

    return problem


def _nearest(n, d, k, dtype):
    X = _rows((n, d, k), dtype)
    output = n * (4 + X.itemsize)
    # Compared in float32, whatever the rows are.
    return (X, data.starting_centers(X, k)), Work(_instructions(n * d * k), X.nbytes + output)


def _cluster_medians(n, d, k, dtype):
    X = _rows((n, d, k), dtype)
    labels = np.random.default_rng(0).integers(k, size=n, dtype=np.int32)
    return (X, labels, k), Work(bytes=_bytes(X, labels))


def _cholesky(n, d, k, dtype):
    n_matrices = n // d
    A = np.random.default_rng(0).standard_normal((n_matrices, d, d))
    A = A @ A.mT + d * np.eye(d)
    A = A.astype(dtype)
    return (A,), Work(_instructions(n_matrices * d**3 / 6), _bytes(A, A))


def _gaussian_log_density(n, d, k, dtype):
    X = _rows((n, d, k), dtype)
    means = data.starting_centers(X, k).astype(np.float64)
    factors = np.tile(np.eye(d), (k, 1, 1))
    output = n * k * X.itemsize
    flops = _instructions(n * k * d * (d + 1) / 2)
    return (X, means, factors), Work(flops, X.nbytes + output)


def _bernoulli_log_density(n, d, k, dtype):
    """By tables of four features: one addition for each."""
    rng = np.random.default_rng(0)
    X = (rng.random((n, d)) < 0.5).astype(dtype)
    probabilities = rng.uniform(0.1, 0.9, (k, d))
    return (X, probabilities), Work(_instructions(n * k * -(-d // 4)), X.nbytes + n * k * 8)


def _normalize_responsibilities(n, d, k, dtype):
    log_joint = np.random.default_rng(0).normal(-10, 5, (n, k)).astype(dtype)
    return (log_joint,), Work(bytes=_bytes(log_joint, log_joint) + n * log_joint.itemsize)


PROBLEMS = {
    "squared_euclidean": _distances(1),
    "manhattan": _distances(2),
    "nearest": _nearest,
    "cluster_medians": _cluster_medians,
    "cholesky": _cholesky,
    "gaussian_log_density": _gaussian_log_density,
    "bernoulli_log_density": _bernoulli_log_density,
    "normalize_responsibilities": _normalize_responsibilities,
}


class Kernels:
    """Calls from Python."""

    params = (list(PROBLEMS), measure.some(SHAPES), measure.some(data.DTYPES))
    param_names = ("kernel", "shape", "dtype")
    timeout = 300

    def setup(self, name, shape, dtype):
        from fastem import kernels

        measure.pin_threads()
        n, d, k = SHAPES[shape]
        self.arguments, self.work = PROBLEMS[name](measure.fewer(n), d, k, dtype)
        self.kernel = getattr(kernels, name)
        self.time_call(name, shape, dtype)  # compiles

    def time_call(self, name, shape, dtype):
        return self.kernel(*self.arguments)

    def track_share_of_limit(self, name, shape, dtype):
        # Compared in float32 first, for float64 rows too.
        unit = "float32" if name == "nearest" else dtype
        with measure.threads():
            seconds = machine.least_time(lambda: self.kernel(*self.arguments))
        return self.work.share_of_limit(seconds, unit)

    track_share_of_limit.unit = "of the machine's limit"
