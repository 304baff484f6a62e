"""Situations that other libraries get wrong, with values known beforehand."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from reference import l1_distances, squared_distances
from sklearn.utils._param_validation import InvalidParameterError

from fastem import KMeans, KMedians, kmeans_plusplus

BOTH = pytest.mark.parametrize("estimator", [KMeans, KMedians])


# Values far away.


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    ("dtype", "far"),
    [(np.float32, far) for far in (-99999999.0, 1e12, 1e20, 1e30)]
    + [(np.float64, far) for far in (1e12, -1e18, 1e30, 1e100)],
)
def test_a_far_value_does_not_move_the_other_centers(dtype, far, container):
    X = np.array([[3, 1], [5, 1], [43, 1], [45, 1], [far, 1]], dtype)
    model = KMeans(3, init=X[[0, 2, 4]], n_init=1, tol=0).fit(container(X))
    np.testing.assert_array_equal(model.cluster_centers_, [[4, 1], [44, 1], [dtype(far), 1]])
    np.testing.assert_array_equal(model.labels_, [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(model.predict(container(X)), model.labels_)
    assert model.inertia_ == 4.0
    assert (np.array(model.inertias_) >= 0).all()


@pytest.mark.parametrize("algorithm", ["lloyd", "hamerly", "active"])
def test_far_rows_of_no_weight_do_not_blur_the_others(algorithm):
    """In the scale of the far ones, the others' squares are subnormal, or zero."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        far = 10.0 ** rng.uniform(22.5, 24) * (1 + rng.uniform(size=(64, 1)))
        X = np.concatenate([far, np.sort(rng.normal(size=(448, 1)), axis=0)])
        start = X[rng.choice(np.arange(64, 512), 12, replace=False)]
        model = KMeans(12, init=start, algorithm=algorithm, max_iter=2)
        model.fit(X, sample_weight=np.repeat([0.0, 1.0], [64, 448]))
        distances = np.abs(X[64:] - model.cluster_centers_.T)
        own = distances[np.arange(448), model.labels_[64:]]
        np.testing.assert_array_equal(own, distances.min(axis=1))


@pytest.mark.parametrize("kind", ["dense", "CSR", "few long rows"])
@pytest.mark.parametrize(
    ("dtype", "far"),
    [(np.float32, 1e20), (np.float32, 1e30), (np.float64, 1e30), (np.float64, 1e200)],
)
def test_seeds_beside_a_far_value(dtype, far, kind):
    X = np.random.default_rng(0).normal(size=(300, 3)) + np.repeat([[0], [20], [40]], 100, axis=0)
    X[150, 0] = far
    X = X.astype(dtype)
    if kind == "few long rows":
        X = np.tile(X[::6], 3000)
    container = sp.csr_array if kind == "CSR" else np.asarray
    for seed in range(5):
        _, indices = kmeans_plusplus(container(X), 4, random_state=seed)
        # the far row, and one of each group
        far_row = np.flatnonzero(X[:, 0] == dtype(far))[0]
        assert far_row in indices
        groups = 3 * indices[indices != far_row] // len(X)
        assert sorted(groups) == [0, 1, 2]


def test_half_of_the_values_far_away():
    X = np.r_[np.arange(8.0), 1e18 + 1024 * np.arange(8.0)][:, np.newaxis]
    model = KMeans(2, init=X[[0, 8]], n_init=1).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_.ravel()[0], 3.5)
    np.testing.assert_allclose(model.cluster_centers_.ravel()[1], 1e18 + 3584, rtol=1e-15)


@BOTH
@pytest.mark.parametrize(("dtype", "constant"), [(np.float32, 1e20), (np.float64, 3e18)])
def test_a_huge_constant_column_hides_nothing(estimator, dtype, constant):
    rng = np.random.default_rng(0)
    X = np.empty((3000, 3), dtype)
    X[:, :2] = rng.normal(size=(3000, 2)) + 9 * rng.integers(3, size=(3000, 1))
    X[:, 2] = 0
    expected = estimator(3, random_state=0).fit(X)
    X[:, 2] = constant
    model = estimator(3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_allclose(model.inertia_, expected.inertia_, rtol=1e-6)
    assert (model.cluster_centers_[:, 2] == dtype(constant)).all()
    np.testing.assert_array_equal(model.predict(X), model.labels_)


# One feature, where the sign tells; many, where it is a feature beside the far one; both beyond
# what float64 holds the squares of.
FAR_ROWS = [
    ([[1e200], [-1e200], [3e300], [1.5]], [[1.0], [2], [-3]]),
    ([[1e200, 1], [1e200, 5.5], [-1e200, 1], [0, 5]], [[3.0, 1], [3, 5], [4, 9], [0, 0]]),
    ([[1e160] + 69 * [0.0], [-1e300] + 69 * [1.0]], [70 * [0.5], 70 * [-0.5], 70 * [1.0]]),
    ([[1e250, -1e250], [1e-190, 0]], [[1e-200, 1e-200], [2e-200, 1e-200], [0, 3e-200]]),
]


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(("X", "centers"), FAR_ROWS)
def test_new_rows_whose_squares_overflow_have_a_nearest_center(X, centers, container):
    """By exact fractions."""
    model = KMeans(len(centers))
    model.cluster_centers_ = np.array(centers)
    exact = [[sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(x, c, strict=True))
              for c in centers] for x in X]  # fmt: skip
    expected = [distances.index(min(distances)) for distances in exact]
    np.testing.assert_array_equal(model.predict(container(np.array(X))), expected)


# Labels.


@BOTH
@pytest.mark.parametrize("offset", [0.0, 1e5, 1e7])
def test_distances_of_float32_rows_to_centers_of_float64(estimator, offset):
    X = np.random.default_rng(0).normal(size=(30, 3)) + offset
    model = estimator(3, random_state=0).fit(X)
    rows = X.astype(np.float32)
    differences = np.abs(rows[:, np.newaxis].astype(np.float64) - model.cluster_centers_)
    if estimator is KMedians:
        expected = differences.sum(axis=2)
    else:
        expected = np.sqrt((differences**2).sum(axis=2))
    distances = model.transform(rows)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


@BOTH
@pytest.mark.parametrize("offset", [0.0, 1e5, 1e7])
@pytest.mark.parametrize(
    "options",
    [{"tol": 0}, {"max_iter": 1}, {"max_iter": 3}, {"tol": 0.5}, {"init": "random", "n_init": 4}],
)
def test_labels_are_what_predict_says(estimator, offset, options):
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(1500, 3)) * 4 + offset).astype(np.float32)
    distances = squared_distances if estimator is KMeans else l1_distances
    for seed in range(3):
        model = estimator(9, random_state=seed, **options).fit(X)
        np.testing.assert_array_equal(model.labels_, model.predict(X))
        nearest = distances(X.astype(float), model.cluster_centers_.astype(float))
        own = nearest[np.arange(len(X)), model.labels_]
        np.testing.assert_allclose(own, nearest.min(axis=1), rtol=1e-12)
        np.testing.assert_allclose(model.inertia_, own.sum(), rtol=1e-9)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_after_rows_were_moved_into_empty_clusters(dtype, container):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 2)).astype(dtype)
    init = np.r_[X[:3], np.full((4, 2), 1e3)]
    for max_iter in (1, 2, 3, 50):
        model = KMeans(7, init=init, n_init=1, max_iter=max_iter).fit(container(X))
        np.testing.assert_array_equal(model.labels_, model.predict(container(X)))


# More clusters than different rows.


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_clusters_than_different_rows(dtype, container):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        base = rng.normal(size=(6, 3)).astype(dtype)
        X = base[rng.integers(6, size=50)]
        for weight in (None, rng.uniform(0.01, 1, size=50)):
            model = KMeans(11, random_state=seed, init="random", n_init=2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(container(X), sample_weight=weight)
            assert model.inertia_ <= min(model.inertias_) * (1 + 1e-9)
            slack = 1e-6 if dtype is np.float32 else 1e-14
            assert (model.cluster_centers_ >= X.min(axis=0) - slack).all()
            assert (model.cluster_centers_ <= X.max(axis=0) + slack).all()


def test_a_fit_does_not_end_above_what_it_has_seen():
    """In float32 far from zero, rounding the centres can raise the inertia."""
    rng = np.random.default_rng(3)
    for seed in range(5):
        X = (rng.normal(size=(400, 2)) * 2 + 1e7).astype(np.float32)
        model = KMeans(6, random_state=seed, tol=0).fit(X)
        assert model.inertia_ <= min(model.inertias_) * (1 + 1e-9)
        np.testing.assert_array_equal(model.labels_, model.predict(X))


# Weights.


@BOTH
@pytest.mark.parametrize("weight", [5e-324, 1e-300, 2.0**-700, 2.0**600, 1e307])
def test_equal_weights_far_from_one(estimator, weight):
    X = np.array([[0.0, 1], [2, 1], [30, 1], [36, 1]])
    model = estimator(2, init=X[[0, 2]], n_init=1).fit(X, sample_weight=np.full(4, weight))
    np.testing.assert_allclose(model.cluster_centers_, [[1, 1], [33, 1]], rtol=1e-14)
    expected = 20.0 if estimator is KMeans else 8.0
    inertia = weight * expected
    if np.isfinite(inertia):
        np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-12)
        np.testing.assert_allclose(
            model.score(X, sample_weight=np.full(4, weight)), -inertia, rtol=1e-12
        )
    assert kmeans_plusplus(X, 2, sample_weight=np.full(4, weight), random_state=0)[1].shape == (2,)


@BOTH
def test_weights_of_very_different_magnitude(estimator):
    X = np.array([[0.0], [4], [100], [108]])
    model = estimator(2, init=[[0.0], [100]], n_init=1).fit(X, sample_weight=[1, 1, 5e-324, 5e-324])
    np.testing.assert_array_equal(model.cluster_centers_.ravel(), [2, 104])


# Distances.


@BOTH
@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(np.float32, e) for e in (-120, -100, -73, 0, 66, 120)]
    + [(np.float64, e) for e in (-1000, -530, 0, 530, 1010)],
)
def test_distances_of_any_magnitude(estimator, dtype, exponent):
    X = np.ldexp(np.array([[0, 0], [3, 0], [8, 4]], dtype), exponent).astype(dtype)
    model = estimator(1)
    model.cluster_centers_ = np.ldexp(np.array([[3, 4], [0, 0]], dtype), exponent).astype(dtype)
    expected = [[5, 0], [4, 3], [5, 80**0.5]] if estimator is KMeans else [[7, 0], [4, 3], [5, 12]]
    transformed = model.transform(X)
    assert transformed.dtype == dtype
    np.testing.assert_allclose(
        transformed, np.ldexp(np.array(expected), exponent), rtol=1e-6, atol=0
    )


# CSR.


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_csr_entries_are_summed_in_a_copy(index):
    data = np.array([1.0, 1, 5, 2, 4, 4])
    indices, indptr = np.array([1, 0, 1, 0, 0, 0], index), np.array([0, 3, 4, 6], index)
    X = sp.csr_array((data, indices, indptr), shape=(3, 2))
    dense = np.array([[1.0, 6], [2, 0], [8, 0]])
    kept = X.data.copy(), X.indices.copy(), X.indptr.copy()
    model = KMeans(2, init=dense[:2], n_init=1).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, [[1, 6], [5, 0]])
    assert model.inertia_ == 18.0
    assert model.score(X) == -18.0
    np.testing.assert_array_equal(model.predict(X), [0, 1, 1])
    expected = KMeans(2, init=dense[:2], n_init=1).fit(dense).transform(dense)
    np.testing.assert_allclose(model.transform(X), expected, rtol=1e-14)
    np.testing.assert_array_equal(
        kmeans_plusplus(X, 3, random_state=0)[0], kmeans_plusplus(dense, 3, random_state=0)[0]
    )
    for before, after in zip(kept, (X.data, X.indices, X.indptr), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("attribute", "place", "value"),
    [
        ("indices", 1, 3),
        ("indices", 0, -1),
        ("indices", 2, 2**30),
        ("indptr", -1, 9),
        ("indptr", 0, 1),
        ("indptr", 2, -4),
    ],
)
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_malformed_sparse_rows_are_refused(kind, attribute, place, value):
    X = sp.csr_matrix(np.eye(3)).asformat(kind)
    array = getattr(X, attribute).copy()
    array[place] = value
    setattr(X, attribute, array)
    fitted = KMeans(2, random_state=0).fit(np.eye(3))
    for function in (KMeans(2).fit, fitted.predict, fitted.score, fitted.transform):
        with pytest.raises(ValueError, match="The sparse matrix is malformed"):
            function(X)
    with pytest.raises(ValueError, match="The sparse matrix is malformed"):
        kmeans_plusplus(X, 2)


# Attributes.


@BOTH
def test_centers_set_by_hand(estimator):
    model = estimator(3)
    model.cluster_centers_ = [[0, 0], [10, 10]]
    np.testing.assert_array_equal(model.predict([[1.0, 2], [8, 9], [0, 0]]), [0, 1, 0])
    assert model.score([[1.0, 2], [8, 9]]) == (-10.0 if estimator is KMeans else -6.0)
    assert model.transform([[3.0, 4]])[0, 0] == (5.0 if estimator is KMeans else 7.0)
    with pytest.raises(ValueError, match=r"X has 3 features, but \w+ is expecting 2 features"):
        model.predict(np.zeros((1, 3)))
    for centers, message in (
        ([[0.0, np.nan], [1, 1]], "cluster_centers_ contains NaN"),
        ([0.0, 1.0], "Expected 2D array, got 1D array instead"),
        (np.zeros((0, 2)), "0 sample"),
    ):
        model.cluster_centers_ = centers
        for method in ("predict", "score", "transform"):
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(np.zeros((2, 2)))


class Interrupts:
    """A callback that raises when the task of this name ends."""

    def __init__(self, name, error):
        self.name, self.error = name, error

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context, **data): ...

    def on_fit_task_end(self, estimator, context, **data):
        if context.task_name == self.name:
            raise self.error


@BOTH
@pytest.mark.parametrize("task", ["fit", "run", "iteration"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_fit_that_fails_leaves_the_one_before(estimator, task, error):
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(60, 4)), rng.normal(size=(80, 2))
    model = estimator(3, random_state=0).fit(before)
    fitted = {name: value for name, value in vars(model).items() if name.endswith("_")}
    model.set_callbacks(Interrupts(task, error))
    with pytest.raises(error):
        model.fit(after)
    now = {name: value for name, value in vars(model).items() if name.endswith("_")}
    assert now.keys() == fitted.keys()
    assert all(now[name] is value for name, value in fitted.items())
    model = estimator(3, random_state=0)
    model.set_callbacks(Interrupts(task, error))
    with pytest.raises(error):
        model.fit(after)
    assert not [name for name in vars(model) if name.endswith("_")]


@BOTH
def test_words_are_listed_in_a_fixed_order(estimator):
    message = r"'k-means\+\+', .*'random', 'random_partition'}"
    with pytest.raises(InvalidParameterError, match=message):
        estimator(init="foo").fit(np.eye(9))
    if estimator is KMeans:
        with pytest.raises(InvalidParameterError, match="'auto', 'lloyd', 'elkan', 'filtering'"):
            KMeans(algorithm="foo").fit(np.eye(9))


@BOTH
def test_history(estimator):
    X = np.array([[0.0], [2], [3], [10]])
    model = estimator(2, init=[[0.0], [2]], n_init=1).fit(X)
    # Means: of {0}, {2, 3, 10}; of {0, 2}, {3, 10}. Medians: of {0}, {2, 3, 10}.
    if estimator is KMeans:
        expected = [0 + 0 + 1 + 64, 0 + 4 + 4 + 25, 1 + 1 + 4 + 12.25]
        assert model.inertias_[:3] == expected
    else:
        assert model.inertias_[:2] == [0 + 0 + 1 + 8, 0 + 1 + 0 + 7]
    assert len(model.inertias_) == model.n_iter_
