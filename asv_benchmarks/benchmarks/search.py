"""Searches that leave local optima: how low fits end and how long they take, beside others.

    python -m asv_benchmarks.benchmarks.search --seeds 3

prints the table of ``docs/better-optima.md``: inertia above the least that any fit of the run has
found, and processor time on one thread as a multiple of a single fit's. Peers that aren't installed
are left out.
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable

import numpy as np

from . import data, measure

SEEDS = range(3)


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
}


def _fastem(**options):
    def fit(X, n_clusters, seed):
        from fastem import KMeans

        return KMeans(n_clusters, random_state=seed, **options).fit(X).inertia_

    return fit


def _sklearn(X, n_clusters, seed):
    from sklearn.cluster import KMeans

    return KMeans(n_clusters, n_init=10, random_state=seed).fit(X).inertia_


def _bkmeans(X, n_clusters, seed):
    from bkmeans import BKMeans

    return BKMeans(n_clusters=n_clusters, random_state=seed).fit(X).inertia_


def _flspp(X, n_clusters, seed):
    import flspp

    return flspp.FLSpp(n_clusters=n_clusters, random_state=seed).fit(X).inertia_


METHODS: dict[str, Callable[[np.ndarray, int, int], float]] = {
    "one fit": _fastem(),
    "n_init=10": _fastem(n_init=10),
    "breathing": _fastem(search="breathing"),
    "patient-breathing": _fastem(search="patient-breathing"),
    "scikit-learn, n_init=10": _sklearn,
    "bkmeans": _bkmeans,
    "flspp": _flspp,
}
PEERS = {"bkmeans", "flspp"}


def installed() -> dict[str, Callable[[np.ndarray, int, int], float]]:
    """Return the methods whose packages are there."""
    return {
        name: fit
        for name, fit in METHODS.items()
        if name not in PEERS or importlib.util.find_spec(name) is not None
    }


class Search:
    """How low fits of each kind of rows end, a row, and how long one takes."""

    params = (measure.some(list(SETS)), ["one fit", "n_init=10", "breathing", "patient-breathing"])
    param_names = ("rows", "method")
    timeout = 600

    def setup(self, rows, method):
        measure.pin_threads()
        make, self.n_clusters = SETS[rows]
        self.X = np.ascontiguousarray(make())
        self.time_fit(rows, method)

    def time_fit(self, rows, method):
        METHODS[method](self.X, self.n_clusters, 0)

    def track_inertia(self, rows, method):
        found = [METHODS[method](self.X, self.n_clusters, seed) for seed in SEEDS]
        return float(np.mean(found)) / len(self.X)

    track_inertia.unit = "a row"


def measured(seeds: int) -> dict[str, dict[str, tuple[np.ndarray, float]]]:
    """Return each method's inertias on each set, and the processor time of a fit."""
    methods, found = installed(), {}
    for name, (make, n_clusters) in SETS.items():
        X = np.ascontiguousarray(make(), dtype=np.float64)
        found[name] = {}
        for method, fit in methods.items():
            if method not in PEERS:
                fit(X, n_clusters, seeds)  # compiles and loads
            start = time.process_time()
            inertias = np.array([fit(X, n_clusters, seed) for seed in range(seeds)])
            found[name][method] = inertias, (time.process_time() - start) / seeds
    return found


def markdown(found: dict[str, dict[str, tuple[np.ndarray, float]]]) -> str:
    """Return a table of what `measured` has found, and the means below it."""
    methods = list(next(iter(found.values())))
    lines = ["| rows | clusters | " + " | ".join(methods) + " |"]
    lines += ["| --- | --: |" + " --: |" * len(methods)]
    gaps, times = [], []
    for name, results in found.items():
        least = min(inertias.min() for inertias, _ in results.values())
        # Equal optima differ by rounding.
        ratios = [max(inertias.mean() / least, 1.0) for inertias, _ in results.values()]
        gaps.append([100 * (ratio - 1) for ratio in ratios])
        times.append([seconds / results["one fit"][1] for _, seconds in results.values()])
        cells = [f"{gap:.2f} %, {t:.1f}×" for gap, t in zip(gaps[-1], times[-1], strict=True)]
        lines.append(f"| {name} | {SETS[name][1]} | " + " | ".join(cells) + " |")
    mean, worst = np.mean(gaps, axis=0), np.max(gaps, axis=0)
    typical = np.exp(np.log(times).mean(axis=0))
    cells = [f"**{m:.2f} %, {t:.1f}×**" for m, t in zip(mean, typical, strict=True)]
    lines.append("| mean | | " + " | ".join(cells) + " |")
    lines.append("| worst | | " + " | ".join(f"{w:.2f} %" for w in worst) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="default: %(default)s")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with measure.threads(1):
        print(markdown(measured(options.seeds)))


if __name__ == "__main__":
    main()
