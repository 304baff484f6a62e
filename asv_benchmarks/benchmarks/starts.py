"""Where Gaussian mixtures start: how high fits end, on 38 data sets of five kinds.

The report's table of starts measures the same fits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from . import measure

SEEDS = range(3)

Rows = np.ndarray


class Set(NamedTuple):
    """Rows that are made when they are asked for.

    Parameters
    ----------
    kind : str
    n_components : int
        To look for.
    make : callable
    """

    kind: str
    n_components: int
    make: Callable[[], Rows]

    def rows(self) -> Rows:
        """Return the rows."""
        return np.ascontiguousarray(self.make(), dtype=np.float64)


def _mixture(rng, n_rows, means, covariances, weights=None):
    n_components, n_features = np.shape(means)
    weights = np.full(n_components, 1 / n_components) if weights is None else weights
    labels = rng.choice(n_components, n_rows, p=weights)
    factors = np.linalg.cholesky(np.asarray(covariances, np.float64))
    noise = rng.normal(size=(n_rows, n_features))
    return np.asarray(means)[labels] + np.einsum("nij,nj->ni", factors[labels], noise)


def _side_by_side(n_features, n_components, gap):
    means = np.zeros((n_components, n_features))
    means[:, 1] = gap * np.arange(n_components)
    covariance = np.diag([30.0**2, *np.ones(n_features - 1)])
    rng = np.random.default_rng(10 * n_components + n_features)
    return _mixture(rng, 1500, means, [covariance] * n_components)


def _stripes(seed, n_components):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_components, size=900)
    return rng.normal(size=(900, 2)) * [30, 1] + np.outer(labels, [0, 6])


def _turned(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _turned_stripes():
    rng = np.random.default_rng(7)
    labels = rng.integers(3, size=1500)
    along = rng.uniform(-30, 30, 1500)
    return np.stack([along, 5 * labels + rng.normal(size=1500)], axis=1) @ _turned(0.6)


def _ellipsoids(n_features, n_components, apart):
    rng = np.random.default_rng(100 + n_features * n_components)
    shapes = rng.normal(size=(n_components, n_features, n_features)) / np.sqrt(n_features)
    covariances = shapes @ shapes.transpose(0, 2, 1) + 0.05 * np.eye(n_features)
    means = apart * rng.normal(size=(n_components, n_features))
    weights = rng.dirichlet(np.full(n_components, 3))
    return _mixture(rng, 300 * n_components, means, covariances, weights)


def _other_units():
    rng = np.random.default_rng(5)
    means = 4 * rng.normal(size=(5, 4))
    return _mixture(rng, 1500, means, [np.eye(4)] * 5) * [1, 30, 0.1, 1000]


def _in_the_plane(seed, n_rows, means, covariances, weights=None):
    return _mixture(np.random.default_rng(seed), n_rows, means, covariances, weights)


def _sticks():
    turned, flat = _turned(0.6), np.diag([20, 0.1])
    covariances = [turned @ flat @ turned.T, turned.T @ flat @ turned, np.diag([0.1, 20])]
    return _in_the_plane(10, 2000, [[0, 0], [6, 0], [3, 5]], covariances)


def _ring():
    angles = np.repeat(np.arange(8), 250) * np.pi / 4
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return 8 * circle + np.random.default_rng(12).normal(size=(2000, 2))


def _heavy_tails():
    rng = np.random.default_rng(14)
    return rng.standard_t(3, size=(2000, 3)) + 6 * rng.integers(0, 3, size=(2000, 1))


def _outliers():
    rng = np.random.default_rng(16)
    X = _mixture(rng, 1500, 6 * rng.normal(size=(4, 2)), [np.eye(2)] * 4)
    X[:30] = rng.uniform(-60, 60, (30, 2))
    return X


def _one_feature():
    X = np.random.default_rng(18).normal(size=1500) + np.repeat([0, 4, 5], 500)
    return X[:, np.newaxis]


def _made(name, **options):
    from sklearn import datasets

    return getattr(datasets, f"make_{name}")(random_state=0, **options)[0]


def _table(name):
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")().data


def _digits():
    from sklearn.decomposition import PCA

    return PCA(8, random_state=0).fit_transform(_table("digits"))


def _colours():
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image("china.jpg").reshape(-1, 3)
    return pixels[np.random.default_rng(17).choice(273_280, 3000)] / 255.0


_LONG, _ANY = "long, side by side", "ellipsoids of any shape"
_UNEQUAL, _OTHER, _REAL = "unequal or crossing", "not Gaussian", "real"
_CORNERS = [[0, 0], [4, 0], [0, 4], [3, 3]]
_GRID = [[i, j] for i in range(0, 25, 5) for j in range(0, 25, 5)]
_EYE = np.eye(2)

SETS: dict[str, Set] = {
    **{
        f"{k} side by side, {d} features": Set(
            _LONG, k, lambda d=d, k=k, s=s: _side_by_side(d, k, s)
        )
        for k, s, d in ((2, 4, 2), (3, 5, 2), (4, 6, 2), (3, 6, 5), (5, 5, 3))
    },
    **{
        f"{k} stripes, {seed}": Set(_LONG, k, lambda k=k, seed=seed: _stripes(seed, k))
        for k, seed in ((3, 0), (3, 1), (4, 2))
    },
    "turned stripes": Set(_LONG, 3, _turned_stripes),
    **{
        f"{k} ellipsoids, {d} features": Set(_ANY, k, lambda d=d, k=k, s=s: _ellipsoids(d, k, s))
        for d, k, s in (
            *((2, 4, 3), (2, 8, 4), (3, 6, 3), (5, 5, 2)),
            *((8, 10, 2), (10, 4, 1), (2, 12, 5), (16, 6, 1.2)),
        )
    },
    "other units": Set(_UNEQUAL, 5, _other_units),
    "small in wide": Set(
        _UNEQUAL,
        4,
        lambda: _in_the_plane(
            *(6, 3000, _CORNERS, [v * _EYE for v in (4, 0.05, 0.05, 0.3)]),
            [0.85, 0.05, 0.05, 0.05],
        ),
    ),
    "concentric": Set(
        _UNEQUAL,
        3,
        lambda: _in_the_plane(8, 2000, [[0, 0]] * 3, [v * _EYE for v in (0.1, 2, 30)]),
    ),
    "cross": Set(
        _UNEQUAL,
        2,
        lambda: _in_the_plane(9, 2000, [[0, 0]] * 2, [np.diag([25, 0.2]), np.diag([0.2, 25])]),
    ),
    "sticks": Set(_UNEQUAL, 3, _sticks),
    "grid": Set(_UNEQUAL, 25, lambda: _in_the_plane(11, 2500, _GRID, [_EYE] * 25)),
    "ring": Set(_UNEQUAL, 8, _ring),
    "one feature": Set(_UNEQUAL, 3, _one_feature),
    "moons": Set(_OTHER, 8, lambda: _made("moons", n_samples=1500, noise=0.06)),
    "circles": Set(_OTHER, 10, lambda: _made("circles", n_samples=1500, noise=0.04, factor=0.5)),
    "Swiss roll": Set(_OTHER, 12, lambda: _made("swiss_roll", n_samples=2000, noise=0.3)),
    "uniform": Set(_OTHER, 6, lambda: np.random.default_rng(13).uniform(size=(1500, 3))),
    "heavy tails": Set(_OTHER, 4, _heavy_tails),
    "log-normal": Set(_OTHER, 5, lambda: np.exp(np.random.default_rng(15).normal(size=(2000, 2)))),
    "outliers": Set(_OTHER, 5, _outliers),
    "iris": Set(_REAL, 3, lambda: _table("iris")),
    "wine": Set(_REAL, 3, lambda: _table("wine")),
    "breast cancer": Set(_REAL, 2, lambda: _table("breast_cancer")[:, :8]),
    "digits": Set(_REAL, 10, _digits),
    "colours": Set(_REAL, 10, _colours),
    "diabetes": Set(_REAL, 3, lambda: 20 * _table("diabetes")[:, [0, 2, 3, 4, 5, 8]]),
}

Fit = Callable[[Rows, int, int], float]


def _fit(X, n_components, seed, **options: Any):
    from fastem import GaussianMixture

    model = GaussianMixture(n_components, tol=1e-5, max_iter=500, random_state=seed, **options)
    return float(model.fit(X).score(X))


def _best_of(*candidates) -> Fit:
    """What ``init_params="auto"`` would come to with other candidates than it has."""

    def fit(X, n_components, seed):
        with patch("fastem.mixtures.gaussian.model._CANDIDATES", candidates):
            return _fit(X, n_components, seed, init_params="auto")

    return fit


def _by(**options) -> Fit:
    def fit(X, n_components, seed):
        return _fit(X, n_components, seed, **options)

    return fit


DEFAULT, AUTO = "K-means (default)", '`"auto"`'

STARTS: dict[str, Fit] = {
    DEFAULT: _by(),
    "K-means in the clusters' own metric": _best_of("pooled"),
    "Ward's hierarchy": _best_of("ward"),
    AUTO: _by(init_params="auto"),
    "K-means, `n_init=10`": _by(n_init=10),
}


class Starts:
    """How high fits from each start end, in nats a row."""

    params = (measure.some(list(SETS)), list(STARTS))
    param_names = ("rows", "start")
    timeout = 600

    def setup(self, rows, start):
        measure.pin_threads()
        self.X, self.n_components = SETS[rows].rows(), SETS[rows].n_components

    def track_log_likelihood(self, rows, start):
        fit = STARTS[start]
        return float(np.mean([fit(self.X, self.n_components, seed) for seed in SEEDS]))

    track_log_likelihood.unit = "nats a row"
