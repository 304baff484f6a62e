"""CSR rows like texts': K-means, its seeding and Bernoulli mixtures beside what others do."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from . import data, measure

ITERATIONS = 10


class Texts(NamedTuple):
    """A cell: documents of about as many different words each, as TF-IDF weighs them."""

    rows: int
    columns: int
    stored: int
    clusters: int


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


def ratio(runs):
    """Return how many times as long as the last the fastest of the others takes."""
    with measure.threads():
        for run in runs.values():
            run()
        timed = measure.in_turns(runs, 3, measure.PAUSE)
    *others, ours = (measure.median(times) for times, _ in timed.values())
    return min(others) / ours


class KMeansOfTexts:
    """Whole fits, seeding included, of as many iterations."""

    params = (measure.some(SHAPES), measure.some(data.DTYPES))
    param_names = ("shape", "dtype")
    timeout = 1800

    def setup(self, shape, dtype):
        measure.pin_threads()
        self.X = make_texts(Texts(*shape), dtype)
        self.options = {"n_init": 1, "max_iter": ITERATIONS, "tol": 0, "random_state": 0}
        self.time_fit(shape, dtype)

    def time_fit(self, shape, dtype):
        from fastem import KMeans

        return KMeans(shape[3], **self.options).fit(self.X)

    def time_seeding(self, shape, dtype):
        from fastem import kmeans_plusplus

        return kmeans_plusplus(self.X, shape[3], random_state=0)

    def track_ratio_to_fastest_peer(self, shape, dtype):
        import sklearn.cluster

        makers = {
            name: lambda name=name: sklearn.cluster.KMeans(shape[3], algorithm=name, **self.options)
            for name in ("lloyd", "elkan")
        }
        try:
            import sklearnex.cluster
        except ImportError:
            pass
        else:
            makers["sklearnex"] = lambda: sklearnex.cluster.KMeans(shape[3], **self.options)
        runs = {name: lambda make=make: make().fit(self.X) for name, make in makers.items()}
        return ratio({**runs, "fastem": lambda: self.time_fit(shape, dtype)})

    def track_seeding_ratio_to_sklearn(self, shape, dtype):
        from sklearn.cluster import kmeans_plusplus

        return ratio(
            {
                "sklearn": lambda: kmeans_plusplus(self.X, shape[3], random_state=0),
                "fastem": lambda: self.time_seeding(shape, dtype),
            }
        )

    track_ratio_to_fastest_peer.unit = track_seeding_ratio_to_sklearn.unit = "x"


class BernoulliOfTexts:
    """Iterations of a Bernoulli mixture of which words there are."""

    params = (measure.some(SHAPES[:3]),)
    param_names = ("shape",)
    timeout = 1800

    def setup(self, shape):
        from fastem import BernoulliMixture

        measure.pin_threads()
        self.X = make_texts(Texts(*shape), "float64")
        self.X.data[:] = 1.0
        rng = np.random.default_rng(0)
        start = 0.05 + 0.9 * rng.random((shape[3], shape[1]))
        self.weights = np.full(shape[3], 1 / shape[3])
        self.model = BernoulliMixture(
            shape[3],
            weights_init=self.weights,
            probabilities_init=start,
            max_iter=ITERATIONS,
            tol=0,
            alpha=1.0,
        )
        self.start = start
        self.time_fit(shape)

    def time_fit(self, shape):
        return self.model.fit(self.X)

    def track_ratio_to_products(self, shape):
        """Beside products of SciPy's sparse matrices with NumPy's arrays."""
        return ratio({"products": self._fit_by_products, "fastem": lambda: self.time_fit(shape)})

    def _fit_by_products(self):
        weights, probabilities, X = self.weights, self.start, self.X
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

    track_ratio_to_products.unit = "x"
