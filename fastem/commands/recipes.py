"""Small fits that between them call every kernel of a model, hence what there is to compile."""

import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

DTYPES = ("float32", "float64")


class Recipe(NamedTuple):
    """One process' work.

    Parameters
    ----------
    model : str
        A key of ``MODELS``.
    dtype : str
    option : str
        An algorithm or a covariance type; empty where the model has none.
    """

    model: str
    dtype: str
    option: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


def recipes(models: list[str], dtypes: list[str]) -> list[Recipe]:
    """All that a choice of models and dtypes comes to, the longest first."""
    found = [
        Recipe(model, dtype, option)
        for model, dtype in product(models, dtypes)
        for option in MODELS[model].options
    ]
    return sorted(found, key=lambda recipe: -MODELS[recipe.model].seconds)


def follow(recipe: Recipe) -> None:
    """Call the kernels of a recipe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MODELS[recipe.model].call(np.dtype(recipe.dtype), recipe.option)


def _problems(
    dtype: Any, shapes: list[tuple[int, int, int]]
) -> Iterator[tuple[np.ndarray, int, Any]]:
    """Blobs of (rows, features, clusters), and weights or none."""
    random = np.random.default_rng(0)
    for n_rows, n_features, n_clusters in shapes:
        centers = 4.0 * random.standard_normal((n_clusters, n_features))
        X = centers[random.integers(n_clusters, size=n_rows)]
        X = (X + random.standard_normal(X.shape)).astype(dtype)
        for sample_weight in (None, random.random(n_rows)):
            yield X, n_clusters, sample_weight


def _words(estimator: Any, *but: str) -> Iterator[dict[str, str]]:
    """Each word that parameters of an estimator may be, one at a time, but for some parameters."""
    from fastem.sklearn_private import StrOptions

    for name, constraints in estimator._parameter_constraints.items():
        if name in but:
            continue
        for constraint in constraints:
            if isinstance(constraint, StrOptions):
                yield from ({name: word} for word in sorted(constraint.options))


def _fit_every_word(model: Any, X: Any, sample_weight: Any, *but: str) -> None:
    """Fit with each word of each parameter, so that no option is forgotten."""
    from sklearn.base import clone

    for words in _words(type(model), *but):
        clone(model).set_params(**words).fit(X, sample_weight=sample_weight)


def _silhouettes(dtype: Any, metric: str) -> None:
    from fastem.silhouette import silhouette_score, simplified_silhouette_score

    for X, n_clusters, _ in _problems(dtype, [(500, 3, 4), (500, 70, 30)]):
        labels = np.arange(len(X)) % n_clusters
        silhouette_score(X, labels, metric=metric)
        simplified_silhouette_score(X, X[:n_clusters], metric=metric)


def _ask(model: Any, X: Any) -> None:
    """Call what a fitted estimator is asked for, on rows that can and can't be written to."""
    frozen = X.copy()
    if isinstance(X, np.ndarray):
        frozen.flags.writeable = False
    for rows in (X, frozen):
        for name in ("predict", "predict_proba", "transform", "score_samples", "score"):
            if hasattr(model, name):
                getattr(model, name)(rows)


def _kmeans(dtype: Any, algorithm: str) -> None:
    from fastem.clustering.kmeans import KMeans, kmeans_plusplus

    if algorithm == "csr":
        X = sp.random(3000, 200, 0.05, "csr", dtype, np.random.default_rng(0))
        for sample_weight, n_clusters in product((None, np.ones(3000)), (3, 40)):
            for init in ("k-means++", "k-means||", "random_partition"):
                model = KMeans(n_clusters, init=init, n_init=1, random_state=0)
                _ask(model.fit(X, sample_weight=sample_weight), X)
            kmeans_plusplus(X, n_clusters, sample_weight=sample_weight, random_state=0)
        dense = sp.random(3000, 40, 0.3, "csr", dtype, np.random.default_rng(0))
        for rows in (dense, X):  # of which few digits leave many open, or few
            for sample_weight in (None, np.ones(3000)):
                _fit_every_word(KMeans(5, random_state=0), rows, sample_weight, "algorithm")
        # Few centres and many, of more than a megabyte, which are compared in 16-bit floats, and of
        # less. They are written where they were, unless a search follows.
        wide = sp.random(2000, 40_000, 0.002, "csr", dtype, np.random.default_rng(0))
        less_wide = sp.random(300, 3000, 0.01, "csr", dtype, np.random.default_rng(0))
        for n_clusters, rows in product((5, 40), (wide, less_wide)):
            for sample_weight, init in product(
                (None, np.ones(rows.shape[0])), ("k-means++", "random")
            ):
                model = KMeans(n_clusters, init=init, n_init=1, random_state=0)
                _ask(model.fit(rows, sample_weight=sample_weight), rows)
            KMeans(n_clusters, search="breathing", random_state=0).fit(rows)
        # Clusters so tight that the inertia is summed over the rows.
        tight = sp.vstack([less_wide[:40]] * 8, "csr")
        tight.data *= (1 + 1e-5 * np.random.default_rng(0).standard_normal(tight.nnz)).astype(dtype)
        for sample_weight in (None, np.ones(tight.shape[0])):
            KMeans(40, init=tight[:40].toarray()).fit(tight, sample_weight=sample_weight)
        # Centres that only float64 can tell apart.
        near = 0.5 + 1e-9 * np.random.default_rng(0).standard_normal((40, 200))
        KMeans(40, init=near, max_iter=2).fit(X)
        return
    for X, n_clusters, sample_weight in _problems(dtype, [(300, 2, 8)]):
        model = KMeans(n_clusters, algorithm=algorithm, random_state=0)
        _fit_every_word(model, X, sample_weight, "algorithm")
    shapes = [(3000, 2, 5), (3000, 20, 40), (1500, 100, 8), (1500, 64, 600), (30, 20_000, 3)]
    for X, n_clusters, sample_weight in _problems(dtype, shapes):
        for init in ("k-means++", "k-means||", "random_partition"):
            model = KMeans(n_clusters, init=init, n_init=2, algorithm=algorithm, random_state=0)
            _ask(model.fit(X, sample_weight=sample_weight), X)
        kmeans_plusplus(X, n_clusters, sample_weight=sample_weight, random_state=0)
    # Seeds of many rows, and of few ones of many features.
    for X, n_seeds, sample_weight in _problems(dtype, [(5000, 20, 40), (500, 100, 8)]):
        kmeans_plusplus(X, n_seeds, sample_weight=sample_weight, random_state=0)
    if algorithm == "lloyd":
        _silhouettes(dtype, "euclidean")
        # Few rows, whose iterations are settled in one call, and many.
        for X, n_clusters, sample_weight in _problems(dtype, [(300, 2, 8), (2000, 64, 80)]):
            model = KMeans(n_clusters, search="breathing", random_state=0)
            model.fit(X, sample_weight=sample_weight)
    if algorithm == "filtering":  # which arranges the rows once it pays
        for X, n_clusters, sample_weight in _problems(dtype, [(3000, 3, 60)]):
            KMeans(n_clusters, random_state=0, algorithm=algorithm).fit(
                X, sample_weight=sample_weight
            )
    if algorithm == "steps":  # which it begins to follow once few rows move
        X = np.random.default_rng(0).standard_normal((3000, 600)).astype(dtype)
        KMeans(3, random_state=0, algorithm=algorithm).fit(X)
    if algorithm == "bytes":  # which groups centres that are near each other
        random = np.random.default_rng(0)
        places = 4.0 * random.standard_normal((50, 64))
        X = places[random.integers(50, size=12_000)] + random.standard_normal((12_000, 64))
        start = places[np.arange(400) % 50] + 0.05 * random.standard_normal((400, 64))
        KMeans(400, init=start, max_iter=4, algorithm=algorithm).fit(X.astype(dtype))


def _kmedians(dtype: Any, option: str) -> None:
    from fastem.clustering.kmedians import KMedians

    shapes = [(3000, 2, 5), (3000, 20, 40), (1500, 100, 8), (30, 20_000, 3)]
    for X, n_clusters, sample_weight in _problems(dtype, shapes):
        for init in ("k-means++", "random_partition"):
            model = KMedians(n_clusters, init=init, n_init=2, random_state=0)
            _ask(model.fit(X, sample_weight=sample_weight), X)
    for X, n_clusters, sample_weight in _problems(dtype, [(300, 2, 8), (2000, 64, 80)]):
        _fit_every_word(KMedians(n_clusters, random_state=0), X, sample_weight)
    _silhouettes(dtype, "manhattan")


def _gaussian(dtype: Any, covariance_type: str) -> None:
    from fastem.clustering.kmeans import kmeans_plusplus
    from fastem.mixtures.gaussian.covariances import COVARIANCES
    from fastem.mixtures.gaussian.estimator import GaussianMixture

    if covariance_type == "incomplete":
        _incomplete(dtype)
        return
    shapes = [(3000, 2, 4), (3000, 8, 6), (1500, 24, 4), (1200, 70, 3), (6000, 5, 40)]
    problems = list(_problems(dtype, shapes))
    for X, n_components, sample_weight in problems[:2]:
        # So narrow beside the others, or so far from each other, that sums of squares lose digits.
        uneven, distant = X.copy(), X.copy()
        uneven[:1000] *= 1e-6
        distant += 1e6 * (np.arange(len(X)) % n_components)[:, np.newaxis].astype(dtype)
        problems += [(rows, n_components, sample_weight) for rows in (uneven, distant)]
    for X, n_components, sample_weight in problems:
        for assignment in ("soft", "hard"):
            model = GaussianMixture(
                n_components,
                covariance_type=covariance_type,
                assignment=assignment,
                max_iter=20,
                random_state=0,
            )
            _ask(model.fit(X, sample_weight=sample_weight), X)
            model.icl(X)
            model.elbo(X)
        few = slice(None, None, len(X) // 300)
        weights = None if sample_weight is None else sample_weight[few]
        for assignment in ("soft", "hard"):
            model.set_params(
                n_components=min(n_components, 4), search="breathing", assignment=assignment
            )
            model.fit(X[few], sample_weight=weights)
    kinds = {kind.name for kind in COVARIANCES.values() if kind.passes == covariance_type}
    for X, n_components, sample_weight in _problems(dtype, [(900, 4, 3)]):
        for kind in sorted(kinds):
            model = GaussianMixture(n_components, covariance_type=kind, max_iter=5, random_state=0)
            _fit_every_word(model, X, sample_weight, "covariance_type")
    for X, n_seeds, sample_weight in _problems(dtype, [(3000, 24, 80)]):
        kmeans_plusplus(X, n_seeds, sample_weight=sample_weight, random_state=0)  # of many rows


def _incomplete(dtype: Any) -> None:
    """Rows with gaps, of frequent patterns and of rare ones, and rows with errors."""
    from fastem.mixtures.gaussian.covariances import COVARIANCES
    from fastem.mixtures.gaussian.estimator import GaussianMixture

    shapes = [(3000, 4, 3), (1500, 9, 3)]
    for X, n_components, sample_weight in _problems(dtype, shapes):
        holes = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
        for covariance_type in ("full", "diag"):
            model = GaussianMixture(
                n_components, covariance_type=covariance_type, missing="em", random_state=0
            )
            _ask(model.fit(holes, sample_weight=sample_weight), holes)
            model.elbo(holes)
            model.impute(holes)
            for noise in (
                np.ones(X.shape, dtype),
                np.tile(np.eye(X.shape[1], dtype=dtype), (len(X), 1, 1)),
            ):
                model.fit(holes, sample_weight=sample_weight, noise=noise)
                model.predict(holes, noise=noise)
                model.denoise(holes, noise)
    for X, n_components, sample_weight in _problems(dtype, [(300, 3, 3)]):
        holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
        for kind in sorted({kind.name for kind in COVARIANCES.values()}):
            model = GaussianMixture(
                n_components, covariance_type=kind, missing="em", max_iter=5, random_state=0
            )
            # Noise takes complete rows only.
            apart = ("covariance_type", "missing", "noise_component")
            _fit_every_word(model, holes, sample_weight, *apart)


def _bernoulli(dtype: Any, option: str) -> None:
    from fastem.mixtures.bernoulli.estimator import BernoulliMixture

    for X, n_components, sample_weight in _problems(dtype, [(2000, 20, 3), (1500, 300, 40)]):
        for assignment, rows in product(("soft", "hard"), (X, sp.csr_matrix(X > 3, dtype=dtype))):
            model = BernoulliMixture(n_components, assignment=assignment, random_state=0)
            _ask(model.fit(rows, sample_weight=sample_weight), rows)
            model.icl(rows)
            model.elbo(rows)
    # So many components that a search breathes more than once.
    for X, n_components, sample_weight in _problems(dtype, [(300, 20, 8)]):
        for rows in (X, sp.csr_matrix(X > 3, dtype=dtype)):
            model = BernoulliMixture(n_components, random_state=0)
            _fit_every_word(model, rows, sample_weight)


def _kernels(dtype: Any, option: str) -> None:
    from fastem.kernels.bernoulli.log_density import bernoulli_log_density
    from fastem.kernels.distances.nearest_row import nearest
    from fastem.kernels.distances.pairwise import manhattan, squared_euclidean
    from fastem.kernels.gaussian.log_density import gaussian_log_density
    from fastem.kernels.linalg.cholesky import cholesky
    from fastem.kernels.medians.cluster import cluster_medians
    from fastem.kernels.mixtures.responsibilities import normalize_responsibilities

    random = np.random.default_rng(0)
    for n_features in (3, 64):
        X, Y = (random.standard_normal((n, n_features)).astype(dtype) for n in (5000, 40))
        for compare in (squared_euclidean, manhattan, nearest):
            compare(X, Y)
        labels = np.arange(len(X), dtype=np.int32) % 40
        cluster_medians(X, labels, 40)
        cluster_medians(X, labels.astype(np.int64), 40, np.ones(len(X)))
        normalize_responsibilities(X.copy())
        matrices = np.tile(np.eye(n_features, dtype=dtype), (40, 1, 1))
        factors = cholesky(matrices)
        cholesky(matrices[0])
        for covariance_type, scales in (
            ("full", factors),
            ("tied", factors[0]),
            ("diag", np.ones(Y.shape)),
            ("spherical", np.ones(40)),
            ("tied_diag", np.ones(n_features)),
            ("tied_spherical", np.ones(())),
        ):
            gaussian_log_density(X, Y, scales, covariance_type)
        bernoulli_log_density((X > 0).astype(dtype), np.full((40, n_features), 0.3))
    public = (
        squared_euclidean,
        manhattan,
        nearest,
        cluster_medians,
        cholesky,
        normalize_responsibilities,
        gaussian_log_density,
        bernoulli_log_density,
    )
    _for_compiled_code(dtype, {function.__name__: function for function in public})


def _for_compiled_code(dtype: Any, public: dict[str, Callable[..., Any]]) -> None:
    """The forms of the public kernels that users' compiled code calls, and those in parallel."""
    import fastem.kernels.parallel as parallel

    random = np.random.default_rng(0)
    X, Y = (random.standard_normal((n, 3)).astype(dtype) for n in (500, 40))
    labels, weights = np.arange(500) % 40, np.ones(500)
    matrices = np.tile(np.eye(3, dtype=dtype), (40, 1, 1))
    ones, means = (X > 0).astype(dtype), Y.astype(np.float64)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("squared_euclidean", (X, Y)),
        ("manhattan", (X, Y)),
        ("nearest", (X, Y)),
        ("cluster_medians", (X, labels, 40)),
        ("cluster_medians", (X, labels, 40, weights)),
        ("cholesky", (matrices,)),
        ("cholesky", (matrices[0],)),
        ("normalize_responsibilities", (X,)),
        ("gaussian_log_density", (X, means, matrices.astype(np.float64))),
        ("gaussian_log_density", (X, means, np.ones((40, 3)), "diag")),
        ("gaussian_log_density", (X, means, np.ones(40), "spherical")),
        ("gaussian_log_density", (X, means, 1.0, "tied_spherical")),
        ("bernoulli_log_density", (ones, np.full((40, 3), 0.3))),
    ]
    for name, arguments in calls:
        on_threads = getattr(parallel, name)
        on_threads(*arguments)
        for function in (public[name], on_threads):
            _called_by_compiled_code(function)(arguments)


def _called_by_compiled_code(function: Callable[..., Any]) -> Callable[..., Any]:
    from numba import njit

    return njit(lambda arguments: function(*arguments))


class _Model(NamedTuple):
    """How to call a model's kernels; the options are done apart, in so many seconds each."""

    call: Callable[[Any, str], None]
    seconds: float
    options: tuple[str, ...] = ("",)


MODELS = {
    "KMeans": _Model(
        _kmeans,
        10.0,
        ("lloyd", "filtering", "hamerly", "lists", "active", "wide", "steps", "bytes", "csr"),
    ),
    "KMedians": _Model(_kmedians, 10.0),
    "GaussianMixture": _Model(
        _gaussian,
        20.0,
        ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "incomplete"),
    ),
    "BernoulliMixture": _Model(_bernoulli, 10.0),
    "kernels": _Model(_kernels, 15.0),
}
