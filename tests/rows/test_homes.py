"""Fits to rows in several parts are those to the array, whatever the model."""

import numpy as np
import pytest
import scipy.sparse as sp
from homes import SPLITS, PoissonMixture, assert_same_fit, parts_of, split_rows

from fastem import BernoulliMixture, GaussianMixture, KMeans, KMedians
from fastem.clustering.euclidean.seeding import STRATEGIES
from fastem.clustering.manhattan import seeding as manhattan
from fastem.kernels.kmeans import ALGORITHMS
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.rows import LocalRows, Part, home_of

N_ROWS, N_FEATURES = 331, 3
several = pytest.mark.parametrize("split", [split for split in SPLITS if split != "one part"])


def blobs(dtype=np.float64, n_features=N_FEATURES):
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(4, n_features), scale=4.0)
    return (centers[rng.integers(4, size=N_ROWS)] + rng.normal(size=(N_ROWS, n_features))).astype(
        dtype
    )


def some_weights(weighted):
    if not weighted:
        return None
    weights = np.random.default_rng(4).uniform(size=N_ROWS)
    weights[::7] = 0.0
    return weights


def bits():
    rng = np.random.default_rng(5)
    probabilities = rng.uniform(size=(3, 17))
    return (rng.uniform(size=(N_ROWS, 17)) < probabilities[rng.integers(3, size=N_ROWS)]).astype(
        np.float64
    )


def assert_same(make, X, sample_weight, split, rtol=1e-10):
    expected = make().fit(X, sample_weight=sample_weight)
    assert_same_fit(make().fit(split_rows(X, sample_weight, split)), expected, rtol)


@several
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", STRATEGIES)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_kmeans(container, init, weighted, split):
    def make():
        return KMeans(5, init=init, n_init=3, random_state=0, max_iter=30)

    assert_same(make, container(blobs()), some_weights(weighted), split)


@several
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_of_kmeans(algorithm, split):
    assert_same(lambda: KMeans(6, algorithm=algorithm, random_state=1), blobs(), None, split)


@several
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", manhattan.STRATEGIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kmedians_bit_for_bit(dtype, init, weighted, split):
    X, weights = blobs(dtype), some_weights(weighted)
    expected, fitted = (
        KMedians(5, init=init, n_init=1, random_state=3).fit(rows, sample_weight=weight)
        for rows, weight in ((X, weights), (split_rows(X, weights, split), None))
    )
    np.testing.assert_array_equal(fitted.cluster_centers_, expected.cluster_centers_)
    assert_same_fit(fitted, expected, rtol=1e-12)


@several
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_gaussian_mixtures(covariance_type, weighted, split):
    def make():
        return GaussianMixture(
            3, covariance_type=covariance_type, random_state=0, max_iter=15, tol=0.0
        )

    with pytest.warns(match="did not converge"):
        assert_same(make, blobs(), some_weights(weighted), split)


@several
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
@pytest.mark.parametrize("init_params", ["k-means++", "random", "random_from_data"])
def test_starts_of_gaussian_mixtures(init_params, covariance_type, split):
    def make():
        return GaussianMixture(
            3,
            covariance_type=covariance_type,
            init_params=init_params,
            random_state=2,
            max_iter=300,
            tol=1e-3,
        )

    assert_same(make, blobs(), None, split)


OPTIONS = [
    {"assignment": "hard"},
    {"accelerate": "squarem", "max_iter": 8},
    {"prior": "conjugate"},
    {"fixed": ("means",)},
    {"reg_covar": 0.0, "init_params": "k-means++"},
]


@several
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_options_of_gaussian_mixtures(options, split):
    assert_same(
        lambda: GaussianMixture(3, random_state=0, tol=0.1, **options), blobs(), None, split
    )


@several
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_bernoulli_mixtures(container, weighted, split):
    assert_same(
        lambda: BernoulliMixture(3, random_state=0, max_iter=200, alpha=0.5),
        container(bits()),
        some_weights(weighted),
        split,
    )


@several
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init_params", ["kmeans", "random_from_data"])
def test_own_mixtures(init_params, weighted, split):
    def make():
        return PoissonMixture(3, init_params=init_params, random_state=0, tol=1e-2)

    X = np.random.default_rng(6).poisson(np.exp(blobs() / 4)).astype(np.float64)
    assert_same(make, X, some_weights(weighted), split)


FLOAT32 = [
    lambda: KMeans(5, random_state=0),
    lambda: GaussianMixture(3, random_state=0),
    lambda: GaussianMixture(3, covariance_type="diag", random_state=0),
    lambda: BernoulliMixture(3, binarize=1.0, random_state=0, max_iter=500),
]


@several
@pytest.mark.parametrize("make", FLOAT32)
def test_float32(make, split):
    assert_same(make, blobs(np.float32), some_weights(True), split, rtol=2e-5)


@several
def test_three_empty_clusters_in_one_step(split):
    """The rows moved are the same; which cluster gets which is told by their distances."""
    X = blobs()
    init = np.vstack([X[:2], X[:3] + 1e3 * np.eye(3)])
    fitted = [
        KMeans(5, init=init, n_init=1, tol=0.0).fit(rows)
        for rows in (X, split_rows(X, None, split))
    ]
    np.testing.assert_allclose(fitted[0].inertia_, fitted[1].inertia_, rtol=1e-12)
    centers = [model.cluster_centers_[np.lexsort(model.cluster_centers_.T)] for model in fitted]
    np.testing.assert_allclose(*centers, rtol=1e-12)


@several
def test_extreme_weights_and_values(split):
    X, weights = blobs() * 1e-160, some_weights(True) * 1e-300
    assert_same(lambda: KMeans(4, random_state=0), X, weights, split)
    assert_same(lambda: GaussianMixture(2, random_state=0), blobs(), weights, split)


def test_a_callable_start_gets_the_rows_as_they_are():
    rows = split_rows(blobs(), None, "two parts")

    def start(given, n_clusters, random_state):
        assert given is rows
        return given.take(np.arange(n_clusters))

    fitted = KMeans(4, init=start, n_init=1).fit(rows)
    assert_same_fit(fitted, KMeans(4, init=blobs()[:4], n_init=1).fit(blobs()))


def test_a_home_is_as_before_after_a_fit():
    """Nothing is kept, so that fits don't see one another."""
    X, weights = blobs(), some_weights(True)
    rows = split_rows(X, weights, "five parts")
    GaussianMixture(4, random_state=0).fit(rows)
    assert all(part.keeps == set() for part in rows.parts)
    KMeans(2, random_state=0).fit(rows)
    assert_same_fit(
        GaussianMixture(3, random_state=0).fit(rows),
        GaussianMixture(3, random_state=0).fit(X, sample_weight=weights),
    )


def test_warm_start_goes_on():
    X = blobs()
    rows = split_rows(X, None, "two parts")
    fitted = []
    for data in (X, rows):
        mixture = GaussianMixture(3, random_state=0, warm_start=True, max_iter=2, tol=1.0)
        fitted.append(mixture.fit(data).fit(data))
    assert_same_fit(*fitted)


def test_few_different_rows_warn():
    rows = split_rows(np.ones((12, 2)), None, "two parts")
    with pytest.warns(match=r"distinct clusters \(1\) found smaller than n_clusters \(3\)"):
        KMeans(3, random_state=0).fit(rows)


@several
@pytest.mark.parametrize("estimator", [GaussianMixture, BernoulliMixture])
def test_gaps_are_filled(estimator, split):
    X = blobs()
    X[np.random.default_rng(6).random(X.shape) < 0.2] = np.nan
    mixture = estimator(2, missing="em", random_state=0).fit(X)
    filled = mixture.impute(split_rows(X, None, split))
    np.testing.assert_allclose(filled, mixture.impute(X), rtol=1e-12)
    assert np.isfinite(filled).all()
    with pytest.raises(TypeError, match="'draw' is for rows in one array"):
        mixture.impute(split_rows(X, None, split), draw=True)


# Bad input.

ESTIMATORS = [KMeans, KMedians, GaussianMixture, BernoulliMixture, PoissonMixture]
all_estimators = pytest.mark.parametrize("estimator", ESTIMATORS)


def fails(estimator, rows, message, error=ValueError):
    model = estimator(2)
    with pytest.raises(error, match=message):
        model.fit(rows)
    assert not [name for name in vars(model) if name.endswith("_")]


@all_estimators
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(estimator, value):
    X = blobs()
    X[300, 1] = value
    what = "NaN" if np.isnan(value) else "infinity"
    message = rf"contains {what}.* in row 64 of part 4 \(row 300 of all\)"
    fails(estimator, split_rows(X, None, "five parts"), message)


@pytest.mark.parametrize("estimator", [KMeans, BernoulliMixture])
def test_not_finite_in_csr(estimator):
    X = sp.csr_array(bits())
    X.data[X.indptr[200]] = np.nan
    message = r"contains NaN in row 100 of part 1 \(row 200 of all\)"
    fails(estimator, split_rows(X, None, "two parts"), message)


@all_estimators
@pytest.mark.parametrize(("value", "what"), [(-1.0, "negative"), (np.nan, "NaN"), (np.inf, "inf")])
def test_bad_weights(estimator, value, what):
    weights = some_weights(True)
    weights[100] = value
    message = rf"sample_weight is {what}.* in row 0 of part 1 \(row 100 of all\)"
    fails(estimator, split_rows(blobs(), weights, "two parts"), message)


@all_estimators
def test_no_weight_at_all(estimator):
    fails(estimator, split_rows(blobs(), np.zeros(N_ROWS), "two parts"), "at least one non-zero")


@all_estimators
def test_parts_unlike_one_another(estimator):
    X, Y = blobs(), blobs(n_features=4)
    fails(estimator, LocalRows([Part(X), Part(Y, None, len(X), 1)]), "4 features in part 1")
    Y = blobs(np.float32)
    fails(estimator, LocalRows([Part(X), Part(Y, None, len(X), 1)]), "float32 in part 1")
    fails(estimator, LocalRows([Part(X.astype(int))]), "should be float32 or float64")
    fails(estimator, LocalRows([Part(X[:, ::-1])]), "C-contiguous")
    half = LocalRows([Part(X), Part(X, np.ones(len(X)), len(X), 1)])
    fails(estimator, half, "weights or none, unlike part 1")
    fails(estimator, LocalRows([Part(X, np.ones(3))]), "one for each row")


@pytest.mark.parametrize("offsets", [(0, 0), (0, 4), (1, 4)])
def test_offsets_of_parts_leave_no_gaps(offsets):
    with pytest.raises(ValueError, match="offset should be the number of the rows in the parts be"):
        LocalRows([Part(np.ones((3, 2)), None, offset) for offset in offsets])
    with pytest.raises(ValueError, match="at least one part"):
        LocalRows([])


def test_rows_in_parts_are_no_array():
    X = np.arange(12.0).reshape(6, 2)
    kmeans = KMeans(2, random_state=0).fit(X)
    with pytest.raises(TypeError, match="are no array, and only fit, predict"):
        kmeans.score(LocalRows([Part(X)]))


@all_estimators
def test_too_few_rows(estimator):
    fails(estimator, LocalRows([Part(np.ones((0, 3)))]), r"Found array with 0 sample\(s\)")
    rows = LocalRows([Part(np.arange(3.0)[:, np.newaxis]), Part(np.ones((1, 1)), None, 3, 1)])
    with pytest.raises(ValueError, match="n_samples"):
        estimator(5).fit(rows)


@pytest.mark.parametrize("estimator", [KMedians, GaussianMixture, PoissonMixture])
def test_sparse_rows_are_not_welcome_everywhere(estimator):
    rows = split_rows(sp.csr_array(bits()), None, "two parts")
    fails(estimator, rows, "Sparse data was passed", TypeError)


def test_values_other_than_zeros_and_ones():
    rows = split_rows(blobs(), None, "two parts")
    with pytest.raises(ValueError, match="only zeros and ones"):
        BernoulliMixture(2, binarize=None).fit(rows)


@all_estimators
def test_weights_come_with_the_rows(estimator):
    rows = split_rows(blobs(), None, "two parts")
    with pytest.raises(ValueError, match="bring their weights along"):
        estimator(2).fit(rows, sample_weight=np.ones(N_ROWS))


def test_what_is_a_home():
    rows = split_rows(blobs(), None, "two parts")
    assert home_of(rows) is rows
    for X in (blobs(), blobs().tolist(), sp.csr_array(bits()), "rows", None):
        assert home_of(X) is None


def test_feature_names_are_the_homes():
    rows = split_rows(blobs(), None, "two parts")
    named = split_rows(blobs(), None, "two parts")
    named.feature_names = np.array(["a", "b", "c"], object)
    model = KMeans(2, random_state=0).fit(named)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert not hasattr(model.fit(rows), "feature_names_in_")


def test_empty_parts_count_in_numbers_only():
    rows = LocalRows(parts_of(blobs(), None, "five parts"))
    assert [part.number for part in rows.parts] == [1, 3, 4]
    assert (rows.n_parts, rows.n_rows) == (3, N_ROWS)
