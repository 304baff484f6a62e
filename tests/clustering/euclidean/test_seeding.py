import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import kmeans_plusplus as sklearn_kmeans_plusplus

from fastem import KMeans, kmeans_plusplus
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.seeding import STRATEGIES
from fastem.clustering.labels import NEAREST_SEEDS
from fastem.rows import LocalRows, Part, array_rows


def problem(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_features = int(rng.integers(1, 400)), int(rng.integers(1, 10))
    X = rng.normal(size=(n_rows, n_features)) + 10 * rng.integers(3)
    sample_weight = [None, rng.uniform(size=n_rows), rng.integers(0, 3, n_rows) + 1.0][seed % 3]
    return X, sample_weight, int(rng.integers(1, min(n_rows, 30) + 1))


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("seed", range(60))
def test_same_seeds_as_scikit_learn(seed, container):
    X, sample_weight, n_clusters = problem(seed)
    X = container(X)
    arguments = {"sample_weight": sample_weight, "random_state": seed}
    if seed % 4 == 0:
        arguments["n_local_trials"] = 1 + seed % 5
    centers, indices = kmeans_plusplus(X, n_clusters, **arguments)
    expected_centers, expected = sklearn_kmeans_plusplus(X, n_clusters, **arguments)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(centers, expected_centers)
    assert indices.dtype == expected.dtype


@pytest.mark.parametrize("n_rows", [5000, 70_000])
def test_same_seeds_in_many_chunks(n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    sample_weight = rng.uniform(size=n_rows)
    for weights in (None, sample_weight):
        ours = kmeans_plusplus(X, 6, sample_weight=weights, random_state=1)[1]
        theirs = sklearn_kmeans_plusplus(X, 6, sample_weight=weights, random_state=1)[1]
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["blobs", "noise", "outlier"])
@pytest.mark.parametrize("n_features", [15, 16, 33])
def test_same_seeds_of_many_features(n_features, kind):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(3000, n_features))
    if kind == "blobs":
        X += 10 * rng.normal(size=(20, n_features))[rng.integers(20, size=3000)]
    elif kind == "outlier":
        X[7] *= 1e5
    sample_weight = rng.uniform(size=3000)
    for weights in (None, sample_weight):
        for seed in range(3):
            ours = kmeans_plusplus(X, 35, sample_weight=weights, random_state=seed)[1]
            theirs = sklearn_kmeans_plusplus(X, 35, sample_weight=weights, random_state=seed)[1]
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_clusters", [6, 30])
def test_same_seeds_of_texts(n_clusters, dtype):
    """Few values a row, in columns of which few are frequent; float32 sums end at other rows."""
    rng = np.random.default_rng(0)
    columns = (1000 ** rng.uniform(size=(3000, 20))).astype(int)
    X = sp.csr_array(
        (rng.uniform(size=columns.size), columns.ravel(), np.arange(0, columns.size + 1, 20))
    )
    X.sum_duplicates()
    X = X.astype(dtype)
    for weights in (None, rng.uniform(size=3000)):
        for seed in range(3):
            arguments = {"sample_weight": weights, "random_state": seed}
            ours = kmeans_plusplus(X, n_clusters, **arguments)[1]
            theirs = sklearn_kmeans_plusplus(X, n_clusters, **arguments)[1]
            np.testing.assert_array_equal(ours, theirs)


def test_same_stream_afterwards():
    """A random state that is passed on is left as scikit-learn leaves it."""
    X = problem(1)[0]
    states = [np.random.RandomState(3), np.random.RandomState(3)]
    kmeans_plusplus(X, 5, random_state=states[0])
    sklearn_kmeans_plusplus(X, 5, random_state=states[1])
    assert states[0].uniform() == states[1].uniform()
    for cls, state in zip((KMeans, SklearnKMeans), states, strict=True):
        cls(4, init="random", random_state=state).fit(X)
    assert states[0].uniform() == states[1].uniform()


def test_seeds_in_float32():
    X = problem(2)[0].astype(np.float32)
    centers, indices = kmeans_plusplus(X, 5, random_state=0)
    assert centers.dtype == np.float32
    np.testing.assert_array_equal(centers, X[indices])


def test_norms_are_accepted():
    X = problem(2)[0]
    norms = (X**2).sum(axis=1)
    np.testing.assert_array_equal(
        kmeans_plusplus(X, 5, x_squared_norms=norms, random_state=0)[1],
        kmeans_plusplus(X, 5, random_state=0)[1],
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_tiny_rows_beside_a_far_one_are_seeds_once(container, dtype):
    """Their squares, in units of the far one, are lost in float32 and beside norms."""
    exponent = {np.float32: 100, np.float64: 400}[dtype]
    X = np.ldexp(np.random.default_rng(0).integers(0, 9, size=(200, 20)).astype(dtype), -exponent)
    X[7, 3] = 2.0**66
    _, indices = kmeans_plusplus(container(X), 8, random_state=0)
    assert len(set(indices)) == 8
    assert 7 in indices


def test_sparse_rows_of_a_subclass_of_arrays():
    X = sp.random(200, 30, density=0.3, format="csr", random_state=0)
    _, indices = kmeans_plusplus(X, 3, random_state=0)
    X.data = np.ma.masked_array(X.data)
    np.testing.assert_array_equal(kmeans_plusplus(X, 3, random_state=0)[1], indices)


def test_rows_of_weight_zero_are_no_seeds():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    sample_weight = (rng.uniform(size=200) < 0.1).astype(float)
    rows = array_rows(X, sample_weight)
    frame = measure_spread(rows)[1].frame
    allowed = X[sample_weight > 0]
    for init in ("k-means++", "k-means||", "random"):
        for seed in range(5):
            state = np.random.RandomState(seed)
            centers = STRATEGIES[init](rows, 4, frame, state)
            for center in centers:
                assert (np.abs(allowed - center).sum(axis=1) < 1e-12).any()


@pytest.mark.parametrize("init", STRATEGIES)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("bounds", [[1], [16_000], [16_384], [100, 17_000]])
@pytest.mark.parametrize("n_features", [2, 16])
def test_starts_dont_depend_on_how_rows_are_split(n_features, init, container, bounds):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(17_100, n_features))
    sample_weight = rng.uniform(size=17_100)
    whole = array_rows(container(X), sample_weight)
    frame = measure_spread(whole)[1].frame
    edges = [0, *bounds, len(X)]
    parts = [
        Part(container(X[a:b]), sample_weight[a:b], a)
        for a, b in zip(edges[:-1], edges[1:], strict=True)  # noqa: RUF007
    ]
    starts = [
        STRATEGIES[init](rows, 5, frame, np.random.RandomState(0))
        for rows in (whole, LocalRows(parts))
    ]
    starts = [start.toarray() if sp.issparse(start) else start for start in starts]
    np.testing.assert_allclose(*starts, rtol=1e-12, atol=1e-13)
    assert all(part.keeps <= {NEAREST_SEEDS.name} for part in parts)


def test_random_partition_averages_random_clusters():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 2)) + 5
    rows = array_rows(X)
    frame = measure_spread(rows)[1].frame
    centers = STRATEGIES["random_partition"](rows, 4, frame, np.random.RandomState(0))
    # Means of 10 000 rows each: all near the mean of all, and different.
    assert np.abs(centers - 5).max() < 0.06
    assert len(np.unique(centers[:, 0])) == 4
    np.testing.assert_allclose(centers.mean(axis=0), 5, atol=1e-2)
    weighted = array_rows(X, np.ones(len(X)))
    again = STRATEGIES["random_partition"](weighted, 4, frame, np.random.RandomState(0))
    np.testing.assert_allclose(again, centers, rtol=1e-12)


@pytest.mark.parametrize("init", ["random_partition", "k-means||"])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_as_many_clusters_as_rows(init, container):
    """Clusters that no row fell into, or too few candidates."""
    X = np.random.default_rng(0).normal(size=(9, 2))
    rows = array_rows(container(X))
    frame = measure_spread(rows)[1].frame
    for seed in range(10):
        centers = STRATEGIES[init](rows, 9, frame, np.random.RandomState(seed))
        assert centers.shape == (9, 2)
        assert np.isfinite(centers).all()


def test_starts_from_rows_that_are_all_the_same():
    rows = array_rows(np.ones((30, 2)), np.r_[np.ones(2), np.zeros(28)])
    frame = measure_spread(rows)[1].frame
    for init in ("k-means++", "k-means||", "random_partition"):
        centers = STRATEGIES[init](rows, 4, frame, np.random.RandomState(0))
        np.testing.assert_array_equal(centers, np.ones((4, 2)))


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_good_seeds_find_separate_blobs(init):
    rng = np.random.default_rng(0)
    blobs = 100 * rng.normal(size=(25, 4))
    X = blobs.repeat(40, axis=0) + rng.normal(size=(1000, 4))
    costs = [KMeans(25, init=init, random_state=seed).fit(X).inertia_ for seed in range(5)]
    # One blob without a seed would cost some hundred thousands.
    assert np.median(costs) < 2 * 4000


def test_parallel_seeding_draws_more_rows_than_it_keeps():
    """It is close to the optimum where random rows are not: one blob in a hundred is far away."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 2))
    X[:10] += 1000
    far = [
        (KMeans(5, init="k-means||", random_state=seed, max_iter=1).fit(X).cluster_centers_ > 500)
        for seed in range(5)
    ]
    assert all(centers.all(axis=1).any() for centers in far)
