"""Searches that leave local optima: how low fits end and how long they take, beside others.

The report's tables of searches measure the same fits.
"""

from collections.abc import Callable

import numpy as np

from . import data, measure

SEEDS = range(3)

Fit = Callable[[np.ndarray, int, int], float]


def _grid(side, n_rows, noise):
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(range(side), range(side)), axis=-1).reshape(-1, 2)
    return points[rng.integers(len(points), size=n_rows)] + noise * rng.normal(size=(n_rows, 2))


def _unbalanced():
    rng = np.random.default_rng(1)
    sizes = 0.9 ** np.arange(40)
    centers = 6.0 * rng.normal(size=(40, 3))
    return centers[rng.choice(40, size=20_000, p=sizes / sizes.sum())] + rng.normal(
        size=(20_000, 3)
    )


def _blobs(*shape):
    return data.make_rows(data.Cell(*shape, "float64"))


def _nested():
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1.2], [0.5, 0.5]])
    X = 0.05 * rng.normal(size=(20_000, 2))
    for level in range(3):
        X += 10 * 0.25**level * corners[rng.integers(5, size=len(X))]
    return X


def _pixels(name):
    from sklearn.datasets import load_sample_image

    X = load_sample_image(name).reshape(-1, 3).astype(np.float64)
    return X[np.random.default_rng(0).choice(len(X), 20_000, replace=False)]


def _table(name):
    from sklearn import datasets

    X = getattr(datasets, f"load_{name}")().data
    return (X - X.mean(axis=0)) / X.std(axis=0)


def _digits():
    from sklearn.datasets import load_digits

    return load_digits().data


def _swiss_roll():
    from sklearn.datasets import make_swiss_roll

    return make_swiss_roll(10_000, random_state=0)[0]


# Rows of each kind, and clusters to look for.
SETS: dict[str, tuple[Callable[[], np.ndarray], int]] = {
    "grid, overlapping": (lambda: _grid(10, 20_000, 0.25), 100),
    "grid, separated": (lambda: _grid(8, 10_000, 0.1), 64),
    "unbalanced": (_unbalanced, 40),
    "overlapping": (lambda: _blobs(20_000, 16, 64, "overlapping"), 64),
    "separated": (lambda: _blobs(20_000, 16, 100, "separated"), 100),
    "64 features": (lambda: _blobs(5_000, 64, 50, "overlapping"), 50),
    "digits": (_digits, 50),
    "pixels, china": (lambda: _pixels("china.jpg"), 64),
    "pixels, flower": (lambda: _pixels("flower.jpg"), 32),
    "uniform": (lambda: np.random.default_rng(5).random((10_000, 2)), 60),
    "breast cancer": (lambda: _table("breast_cancer"), 20),
    "wine": (lambda: _table("wine"), 8),
    "diabetes": (lambda: _table("diabetes"), 20),
    "nested": (_nested, 125),
    "Swiss roll": (_swiss_roll, 100),
}


def _fastem(estimator, **options):
    def fit(X, n_clusters, seed):
        import fastem

        model = getattr(fastem, estimator)(n_clusters, random_state=seed, **options)
        return float(model.fit(X).inertia_)

    return fit


def _sklearn(n_init):
    def fit(X, n_clusters, seed):
        from sklearn.cluster import KMeans

        return float(KMeans(n_clusters, n_init=n_init, random_state=seed).fit(X).inertia_)

    return fit


def _bkmeans(X, n_clusters, seed):
    from bkmeans import BKMeans

    return float(BKMeans(n_clusters=n_clusters, random_state=seed).fit(X).inertia_)


def _flspp(X, n_clusters, seed):
    from flspp import FLSpp

    return float(FLSpp(n_clusters=n_clusters, random_state=seed).fit(X).inertia_)


def _own(estimator):
    return {
        "one fit": _fastem(estimator),
        "n_init=10": _fastem(estimator, n_init=10),
        "breathing": _fastem(estimator, search="breathing"),
        "patient-breathing": _fastem(estimator, search="patient-breathing"),
    }


# Each model's, by their names: those of a package are what comes before the comma.
METHODS: dict[str, dict[str, Fit]] = {
    "KMeans": {
        **_own("KMeans"),
        "scikit-learn": _sklearn(1),
        "scikit-learn, n_init=10": _sklearn(10),
        "bkmeans": _bkmeans,
        "flspp": _flspp,
    },
    "KMedians": _own("KMedians"),
}


def made(rows: str) -> tuple[np.ndarray, int]:
    """Return the rows of a kind, and how many clusters to look for."""
    make, n_clusters = SETS[rows]
    return np.ascontiguousarray(make(), dtype=np.float64), n_clusters


class Search:
    """How low fits of each kind of rows end, a row, and how long one takes."""

    params = (
        list(METHODS),
        measure.some(list(SETS)),
        ["one fit", "n_init=10", "breathing", "patient-breathing"],
    )
    param_names = ("model", "rows", "method")
    timeout = 600

    def setup(self, model, rows, method):
        measure.pin_threads()
        self.X, self.n_clusters = made(rows)
        self.time_fit(model, rows, method)

    def time_fit(self, model, rows, method):
        METHODS[model][method](self.X, self.n_clusters, 0)

    def track_inertia(self, model, rows, method):
        fit = METHODS[model][method]
        return float(np.mean([fit(self.X, self.n_clusters, seed) for seed in SEEDS])) / len(self.X)

    track_inertia.unit = "a row"
