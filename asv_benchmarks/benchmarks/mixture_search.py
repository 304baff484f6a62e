"""Searches of Gaussian mixtures: how high log-likelihoods end and how long fits take.

``python -m asv_benchmarks.benchmarks.mixture_search`` prints the table of docs/better-optima.md.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np

from . import measure

SEEDS = range(10)


def _blobs(seed, n_rows, n_features, n_clusters, spread):
    rng = np.random.default_rng(seed)
    centers = spread * rng.normal(size=(n_clusters, n_features))
    labels = rng.integers(n_clusters, size=n_rows)
    return centers[labels] + rng.normal(size=(n_rows, n_features))


def _stripes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2)) * [20.0, 0.5]
    X[:, 1] += 4.0 * rng.integers(4, size=4000)
    return X


def _unbalanced():
    rng = np.random.default_rng(0)
    labels = rng.choice(12, size=20_000, p=rng.dirichlet(np.full(12, 0.5)))
    scales = rng.uniform(0.2, 1.5, size=12)[labels, np.newaxis]
    return 4.0 * rng.normal(size=(12, 3))[labels] + scales * rng.normal(size=(20_000, 3))


def _ellipses(n_rows, n_features, n_clusters, spread, size):
    rng = np.random.default_rng(0)
    labels = rng.integers(n_clusters, size=n_rows)
    shapes = size * rng.normal(size=(n_clusters, n_features, n_features))
    centers = spread * rng.normal(size=(n_clusters, n_features))
    noise = rng.normal(size=(n_rows, n_features))
    return centers[labels] + np.einsum("nij,nj->ni", shapes[labels], noise)


def _grid():
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(range(5), range(5)), axis=-1).reshape(-1, 2)
    return points[rng.integers(25, size=10_000)] + 0.18 * rng.normal(size=(10_000, 2))


def _table(name, n_features=None):
    from sklearn import datasets

    X = getattr(datasets, f"load_{name}")().data[:, :n_features]
    return (X - X.mean(axis=0)) / X.std(axis=0)


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    return PCA(12, random_state=0).fit_transform(load_digits().data)


# Rows of each kind, and components to look for.
SETS: dict[str, tuple[Callable[[], np.ndarray], int]] = {
    "iris": (lambda: _table("iris"), 3),
    "wine": (lambda: _table("wine"), 3),
    "breast cancer": (lambda: _table("breast_cancer", 10), 2),
    "diabetes": (lambda: _table("diabetes", 6), 3),
    "digits": (_digits, 10),
    "separated": (lambda: _blobs(0, 20_000, 8, 20, 6.0), 20),
    "overlapping": (lambda: _blobs(1, 20_000, 4, 10, 2.0), 10),
    "long, side by side": (_stripes, 4),
    "unbalanced": (_unbalanced, 12),
    "ellipses": (lambda: _ellipses(20_000, 5, 6, 3.0, 1.0), 6),
    "30 features": (lambda: _ellipses(10_000, 30, 8, 1.0, 0.3), 8),
    "grid": (_grid, 25),
}


def _fastem(**options):
    def fit(X, n_components, seed):
        from fastem import GaussianMixture

        return GaussianMixture(n_components, random_state=seed, **options).fit(X).score(X)

    return fit


def _sklearn(n_init):
    def fit(X, n_components, seed):
        from sklearn.mixture import GaussianMixture

        model = GaussianMixture(n_components, n_init=n_init, random_state=seed)
        return model.fit(X).score(X)

    return fit


METHODS = {
    "one fit": _fastem(),
    'init_params="auto"': _fastem(init_params="auto"),
    "breathing": _fastem(search="breathing"),
    "patient-breathing": _fastem(search="patient-breathing"),
    "scikit-learn": _sklearn(1),
    "scikit-learn, n_init=20": _sklearn(20),
}


def made(rows: str) -> tuple[np.ndarray, int]:
    """Return the rows of a kind, and how many components to look for."""
    make, n_components = SETS[rows]
    return np.ascontiguousarray(make(), dtype=np.float64), n_components


class MixtureSearch:
    """How high fits of each kind of rows end, in nats a row, and how long one takes."""

    params = (measure.some(list(SETS)), [*METHODS][:4])
    param_names = ("rows", "method")
    timeout = 600

    def setup(self, rows, method):
        measure.pin_threads()
        self.X, self.n_components = made(rows)
        self.time_fit(rows, method)

    def time_fit(self, rows, method):
        METHODS[method](self.X, self.n_components, 0)

    def track_log_likelihood(self, rows, method):
        fit = METHODS[method]
        return float(np.mean([fit(self.X, self.n_components, seed) for seed in SEEDS]))

    track_log_likelihood.unit = "nats a row"


def _measured(X, n_components, name):
    """The mean over seeds of the log-likelihood, and of the time of a fit in seconds."""
    fit, reached, times = METHODS[name], [], []
    fit(X, n_components, len(SEEDS))  # compiles
    for seed in SEEDS if "n_init" not in name else SEEDS[:1]:
        start = perf_counter()
        reached.append(fit(X, n_components, seed))
        times.append(perf_counter() - start)
    return np.mean(reached), np.mean(times)


def _print_table():
    print(f"| rows | size, components | {' | '.join(METHODS)} |")
    print(f"| --- | --- |{' ---: |' * len(METHODS)}")
    for rows in SETS:
        X, n_components = made(rows)
        found = {name: _measured(X, n_components, name) for name in METHODS}
        least = found["scikit-learn, n_init=20"][0]
        cells = [
            f"{1e3 * (reached - least):+.1f}, {1e3 * seconds:.0f} ms"
            for reached, seconds in found.values()
        ]
        size = f"{len(X):,} × {X.shape[1]}, {n_components}"
        print(f"| {rows} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    _print_table()
