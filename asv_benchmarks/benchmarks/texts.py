"""CSR rows like texts': K-means, its seeding and Bernoulli mixtures beside what others do."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from . import data, measure

ITERATIONS = 10
MODEL = {"n_init": 1, "max_iter": ITERATIONS, "tol": 0, "random_state": 0}


class Texts(NamedTuple):
    """A cell: documents of about as many different words each, as TF-IDF weighs them."""

    rows: int
    columns: int
    stored: int
    clusters: int

    @property
    def name(self) -> str:
        """Short name of rows, columns, non-zeros a row and clusters, such as ``20k,8k,46,10``."""
        rows, columns = data.short(self.rows), data.short(self.columns)
        return f"{rows},{columns},{self.stored},{self.clusters}"


SHAPES = (
    Texts(20_000, 8_000, 46, 10),
    Texts(40_000, 8_000, 46, 50),
    Texts(40_000, 8_000, 46, 300),
    Texts(20_000, 60_000, 87, 50),
    Texts(120_000, 20_000, 25, 50),
    Texts(500_000, 5_000, 20, 50),
    Texts(20_000, 200_000, 300, 10),
    Texts(20_000, 200_000, 100, 300),
)


def make_texts(shape: Texts, dtype: str, topics: int = 60) -> sp.csr_matrix:
    """Return rows of Zipf-distributed columns; each topic has some of its own."""
    n_rows, n_columns = measure.fewer(shape.rows), shape.columns
    rng = np.random.default_rng(0)
    chances = np.cumsum(1 / np.arange(1, n_columns + 1))
    drawn = rng.random((n_rows, int(shape.stored * 1.6)))
    words = np.searchsorted(chances / chances[-1], drawn).clip(max=n_columns - 1)
    shift = rng.integers(topics, size=(n_rows, 1)) * 7919
    own = rng.random(words.shape) < 0.4
    words = np.where(own, (words * 31 + shift) % n_columns, words)
    starts = np.arange(0, words.size + 1, words.shape[1])
    X = sp.csr_matrix((np.ones(words.size), words.ravel(), starts), (n_rows, n_columns))
    X.sum_duplicates()
    seen = np.bincount(X.indices, minlength=n_columns)
    X.data = np.log1p(X.data) * (np.log((1 + n_rows) / (1 + seen)) + 1)[X.indices]
    lengths = np.sqrt(X.multiply(X).sum(axis=1).A1)
    X.data /= np.repeat(lengths, np.diff(X.indptr))
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X.astype(dtype)


def fits(X: sp.csr_matrix, n_clusters: int) -> dict[str, Callable]:
    """Return functions that fit each library's K-means, seeding included, to the rows."""
    import sklearn.cluster

    from fastem import KMeans

    makers = {
        "fastem": KMeans,
        "lloyd": partial(sklearn.cluster.KMeans, algorithm="lloyd"),
        "elkan": partial(sklearn.cluster.KMeans, algorithm="elkan"),
    }
    if measure.installed("sklearnex"):
        import sklearnex.cluster

        makers["sklearnex"] = sklearnex.cluster.KMeans
    return {name: partial(_fit, make(n_clusters, **MODEL), X) for name, make in makers.items()}


def seedings(X: sp.csr_matrix, n_clusters: int) -> dict[str, Callable]:
    """Return functions that seed with the same random numbers."""
    import sklearn.cluster

    import fastem

    picks = {"fastem": fastem.kmeans_plusplus, "sklearn": sklearn.cluster.kmeans_plusplus}
    return {
        name: lambda pick=pick: pick(X, n_clusters, random_state=0) for name, pick in picks.items()
    }


def mixtures(X: sp.csr_matrix, n_components: int) -> dict[str, Callable]:
    """Return functions that fit Bernoulli mixtures of which words there are, from one start."""
    from fastem import BernoulliMixture

    X = X.astype(np.float64)
    X.data[:] = 1.0
    rng = np.random.default_rng(0)
    start = 0.05 + 0.9 * rng.random((n_components, X.shape[1]))
    weights = np.full(n_components, 1 / n_components)
    model = BernoulliMixture(
        n_components,
        weights_init=weights,
        probabilities_init=start,
        max_iter=ITERATIONS,
        tol=0,
        alpha=1.0,
    )
    return {
        "fastem": lambda: _fit(model, X).probabilities_,
        "products": lambda: _fit_by_products(X, weights, start),
    }


def _fit(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the iterations end early
        return model.fit(X)


@np.errstate(divide="ignore")  # components that no row is near have a weight of 0
def _fit_by_products(X, weights, probabilities):
    """The same by products of SciPy's sparse matrices with NumPy's arrays."""
    for _ in range(ITERATIONS):
        absent = np.log1p(-probabilities)
        odds = np.log(probabilities) - absent
        joint = X @ odds.T + (np.log(weights) + absent.sum(axis=1))
        joint -= joint.max(axis=1, keepdims=True)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=1, keepdims=True)
        totals = joint.sum(axis=0)
        weights = totals / len(joint)
        probabilities = ((X.T @ joint).T + 1.0) / (totals[:, np.newaxis] + 2.0)
    return probabilities


def ratio(runs: dict[str, Callable]) -> float:
    """Return how many times as long as fastem the fastest of the others takes."""
    with measure.threads():
        for run in runs.values():
            run()
        timed = measure.in_turns(runs, 3, measure.PAUSE)
    seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
    return min(seconds[name] for name in seconds if name != "fastem") / seconds["fastem"]


class KMeansOfTexts:
    """Whole fits, seeding included, of as many iterations."""

    params = (measure.some(SHAPES), measure.some(data.DTYPES))
    param_names = ("shape", "dtype")
    timeout = 1800

    def setup(self, shape, dtype):
        measure.pin_threads()
        X = make_texts(Texts(*shape), dtype)
        self.fits, self.seedings = fits(X, shape[3]), seedings(X, shape[3])
        self.time_fit(shape, dtype)

    def time_fit(self, shape, dtype):
        return self.fits["fastem"]()

    def time_seeding(self, shape, dtype):
        return self.seedings["fastem"]()

    def track_ratio_to_fastest_peer(self, shape, dtype):
        return ratio(self.fits)

    def track_seeding_ratio_to_sklearn(self, shape, dtype):
        return ratio(self.seedings)

    track_ratio_to_fastest_peer.unit = track_seeding_ratio_to_sklearn.unit = "x"


class BernoulliOfTexts:
    """Iterations of a Bernoulli mixture of which words there are."""

    params = (measure.some(SHAPES[:3]),)
    param_names = ("shape",)
    timeout = 1800

    def setup(self, shape):
        measure.pin_threads()
        self.fits = mixtures(make_texts(Texts(*shape), "float64"), shape[3])
        self.time_fit(shape)

    def time_fit(self, shape):
        return self.fits["fastem"]()

    def track_ratio_to_products(self, shape):
        """Beside products of SciPy's sparse matrices with NumPy's arrays."""
        return ratio(self.fits)

    track_ratio_to_products.unit = "x"
