"""Every model's pass over the rows, from fixed parameters, and the work that it needs.

Counted as for the public kernels, in ``kernels.py``: a squared distance takes one instruction a
feature, an L1 distance two; a full covariance one for each element of a triangle, for the densities
and again for the scatter. Of bytes, the rows are read once and the labels are read and written.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import data
from .machine import Work


class Pass(NamedTuple):
    """What runs a pass, its work, and the dtype that it computes in."""

    run: Callable[[], object]
    work: Work
    unit: str


def _rows(n, d, k, dtype):
    X = data.make_rows(data.Cell(n, d, k, "overlapping", dtype))
    return X, data.starting_centers(X, k).astype(np.float64)


def _kmeans(n, d, k, dtype):
    from fastem.kernels.clusters import Frame
    from fastem.kernels.kmeans.lloyd import Lloyd

    X, centers = _rows(n, d, k, dtype)
    algorithm = Lloyd(X, None, k, Frame(np.zeros(d), 1.0))
    work = Work(2.0 * n * k * d, X.nbytes + 8.0 * n)
    return Pass(lambda: algorithm.assign(centers), work, "float32")


def _kmedians(n, d, k, dtype):
    from fastem.kernels.clusters import Frame
    from fastem.kernels.kmedians import Plain

    X, centers = _rows(n, d, k, dtype)
    algorithm = Plain(X, None, k, Frame(np.zeros(d), 1.0))
    work = Work(4.0 * n * k * d, X.nbytes + 8.0 * n)
    return Pass(lambda: algorithm.assign(centers), work, "float32")


# A type's unit precisions, and the instructions that a pass needs for a row and for a row and a
# component: densities and sums are linear in the features, for "diag" also in their squares, and
# beyond that in what is the same for all components. The tied types' total scatter is taken once a
# fit.
_GAUSSIAN = {
    "full": (lambda d, k: np.tile(np.eye(d), (k, 1, 1)), lambda d: 0, lambda d: d * (d + 1)),
    "tied": (lambda d, k: np.eye(d), lambda d: d * (d + 1) / 2, lambda d: 2 * d),
    "diag": (lambda d, k: np.ones((k, d)), lambda d: 0, lambda d: 4 * d),
    "spherical": (lambda d, k: np.ones(k), lambda d: 0, lambda d: 2 * d),
    "tied_diag": (lambda d, k: np.ones(d), lambda d: 0, lambda d: 2 * d),
    "tied_spherical": (lambda d, k: np.ones(()), lambda d: 0, lambda d: 2 * d),
}


def _gaussian(covariance_type):
    precisions, for_row, for_pair = _GAUSSIAN[covariance_type]

    def make(n, d, k, dtype):
        from fastem.kernels.gaussian import PASSES, GaussianComponents

        X, means = _rows(n, d, k, dtype)
        parameters = GaussianComponents(np.full(k, -np.log(k)), means, precisions(d, k))
        passes = PASSES[covariance_type](X, None, k)
        work = Work(2.0 * n * (for_row(d) + k * for_pair(d)), float(X.nbytes))
        return Pass(lambda: passes.e_step(parameters, skip=False), work, dtype)

    return make


def _bernoulli(n, d, k, dtype):
    """By tables of four features: an addition for the density and one for the sums."""
    from fastem.kernels.bernoulli import BernoulliComponents, DensePass

    rng = np.random.default_rng(0)
    bits = rng.integers(256, size=(n, -(-d // 8)), dtype=np.uint8)
    bits[:, -1] &= 0xFF >> (-d % 8)
    parameters = BernoulliComponents.of(np.full(k, 1 / k), rng.uniform(0.1, 0.9, (k, d)))
    passes = DensePass(bits, d, None, k)
    work = Work(2.0 * 2 * n * k * -(-d // 4), float(bits.nbytes))
    return Pass(lambda: passes.e_step(parameters), work, "float64")


PASSES = {
    "KMeans": _kmeans,
    "KMedians": _kmedians,
    **{f"Gaussian {name}": _gaussian(name) for name in _GAUSSIAN},
    "Bernoulli": _bernoulli,
}
