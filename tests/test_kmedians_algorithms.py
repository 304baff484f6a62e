"""Every exact K-medians algorithm against its naive twin, pass by pass."""

import numpy as np
import pytest
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from processes import run_script
from reference import cluster_medians, l1_distances

from fastem.kernels.kmeans import Frame
from fastem.kernels.kmedians import ALGORITHMS

DTYPES = [np.float32, np.float64]
CLASSES = list(ALGORITHMS.values())

# Rows, features, clusters: none but 64 divides a tile or a block of centres.
SHAPES = [
    (1, 1, 1), (2, 1, 2), (3, 2, 7), (7, 3, 3), (63, 7, 2), (64, 64, 64), (65, 63, 3),
    (129, 129, 7), (129, 1, 63), (65, 65, 129), (700, 2, 1), (1500, 3, 65), (1100, 7, 129),
    (600, 129, 63), (2000, 1, 7), (3, 300, 2), (5000, 9, 3),
]  # fmt: skip


def frame_for(X):
    """As a fit chooses it."""
    origin = np.median(X, axis=0).astype(float)
    spread = np.median(np.abs(X - origin).sum(axis=1))
    return Frame(origin, 2.0 ** -np.round(np.log2(spread)) if spread > 0 else 1.0)


def check_pass(algorithm, X, sample_weight, centers, labels_before):
    """One pass and the medians after it, against NumPy; returns the labels."""
    statistics = algorithm.assign(centers)
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    distances = l1_distances(X, centers)
    labels = distances.argmin(axis=1)
    np.testing.assert_array_equal(algorithm.labels, labels)
    assert algorithm.labels.dtype == np.int32
    assert statistics.n_changed == (labels != labels_before).sum()
    totals = np.bincount(labels, weights, len(centers))
    np.testing.assert_allclose(statistics.weights, totals, rtol=1e-12)
    inertia = weights @ distances[np.arange(len(X)), labels]
    np.testing.assert_allclose(statistics.inertia, inertia, rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(algorithm.inertia(centers), inertia, rtol=1e-11, atol=1e-300)
    medians = algorithm.medians()
    assert medians.dtype == X.dtype
    expected = cluster_medians(X, labels, len(centers), sample_weight)
    np.testing.assert_array_equal(medians, expected)
    return labels


def center_sequence(X, n_clusters, rng):
    """Small steps, leaps, a return, a standstill, one centre alone, all in one place."""
    chosen = rng.integers(0, len(X), n_clusters)
    centers = X[chosen].astype(float) + 0.1 * rng.normal(size=(n_clusters, X.shape[1]))
    spread = X.std() + 1e-3
    first = centers
    yield centers
    yield centers
    for size in (1e-3, 1e-2, 0.1, 1e-6):
        centers = centers + size * spread * rng.normal(size=centers.shape)
        yield centers
    yield first
    alone = first.copy()
    alone[rng.integers(n_clusters)] += 5 * spread
    yield alone
    yield first[::-1]
    yield first + 100 * spread
    yield np.zeros_like(first)
    yield centers


@pytest.mark.parametrize("weighting", ["none", "some zero"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", CLASSES)
def test_passes(algorithm, shape, dtype, weighting):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(sum(shape))
    X = (rng.normal(size=(n_rows, n_features)) + 3).astype(dtype)
    X[n_rows // 2 :: 3] = X[0]  # duplicates
    sample_weight = None
    if weighting == "some zero":
        sample_weight = rng.uniform(size=n_rows) * (rng.uniform(size=n_rows) < 0.7)
    tested = algorithm(X, sample_weight, n_clusters, frame_for(X))
    assert (tested.labels == -1).all()
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, rng):
        labels = check_pass(tested, X, sample_weight, centers.astype(dtype).astype(float), labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", CLASSES)
def test_the_lowest_of_equally_near_centers(algorithm, dtype):
    """On a grid, where float64 is exact and most rows have several nearest centres."""
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (1300, 3)).astype(dtype)
    tested = algorithm(X, None, 30, Frame(np.array([1.0, 0, -2]), 0.5))
    labels = tested.labels.copy()
    centers = rng.integers(-3, 4, (30, 3)) + 0.5
    centers[20:] = centers[:10]
    for step in range(6):
        labels = check_pass(tested, X, None, centers, labels)
        centers[rng.integers(30, size=step)] += rng.choice([-1, 1, 0.5], size=(step, 3))


@pytest.mark.parametrize("algorithm", CLASSES)
def test_ties_of_decimals_are_those_of_plain_float64(algorithm):
    """0.1 and its like are rounded: only the same differences in the same order tie the same."""
    rng = np.random.default_rng(0)
    X = rng.integers(-30, 30, (900, 3)) / 10
    tested = algorithm(X, None, 25, frame_for(X))
    labels = tested.labels.copy()
    centers = rng.integers(-30, 30, (25, 3)) / 10
    for _ in range(5):
        labels = check_pass(tested, X, None, centers, labels)
        centers = centers + rng.integers(-1, 2, centers.shape) / 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n_features", [1, 3, 17, 65, 300])
@pytest.mark.parametrize("algorithm", CLASSES)
def test_close_calls(algorithm, n_features, scale, dtype):
    """Pairs of centres so close that float32 distances err by more than their difference."""
    rng = np.random.default_rng(n_features)
    X = (scale * (rng.normal(size=(400, n_features)) + 5)).astype(dtype)
    for frame in (frame_for(X), Frame(np.zeros(n_features), 1.0)):
        tested = algorithm(X, None, 12, frame)
        labels = tested.labels.copy()
        centers = scale * (rng.normal(size=(6, n_features)) + 5)
        for step in 10.0 ** -np.arange(3, 8 if dtype is np.float32 else 11):
            pairs = np.concatenate([centers, centers * (1 + step * rng.normal(size=centers.shape))])
            labels = check_pass(tested, X, None, pairs.astype(dtype).astype(float), labels)


# To and fro at first, so that the rows close by are compared anew and get bounds of their own.
SWEEPS = [
    0.5 - np.arange(80) * 0.013,
    np.array([0, 0.02, 0, 0.02, 0, *np.arange(1, 40) * 0.013]),
]


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", [2, 16])
@pytest.mark.parametrize("algorithm", CLASSES)
def test_bounds_that_just_fail(algorithm, n_clusters, dtype, sweep):
    """A boundary sweeps over the rows: each must be compared just when it is reached."""
    X = np.random.default_rng(0).uniform(-1, 1, (4000, 1)).astype(dtype)
    tested = algorithm(X, None, n_clusters, Frame(np.zeros(1), 1.0))
    labels = tested.labels.copy()
    for position in sweep:
        centers = np.full((n_clusters, 1), 4.0) + np.arange(n_clusters)[:, np.newaxis]
        centers[:2] = [[position - 2], [position + 2]]
        labels = check_pass(tested, X, None, centers.astype(dtype).astype(float), labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tiny", [1e-10, 1e-25, 1e-36])
@pytest.mark.parametrize("algorithm", CLASSES)
def test_rows_that_vanish_beside_far_ones(algorithm, tiny, dtype):
    """They are subnormal, or nothing, in float32."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 3)) * tiny).astype(dtype)
    X[:2] = [[1], [-1]]
    tested = algorithm(X, None, 8, Frame(np.zeros(3), 2.0**-20))
    labels = tested.labels.copy()
    centers = rng.normal(size=(8, 3)) * tiny
    centers[3], centers[5] = 1, -1
    for _ in range(4):
        centers = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, centers, labels)
        centers = centers * (1 + 0.3 * rng.normal(size=centers.shape))


@pytest.mark.parametrize("algorithm", CLASSES)
def test_far_from_the_origin(algorithm):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5)) + 1e7
    tested = algorithm(X, None, 9, frame_for(X))
    labels = tested.labels.copy()
    for centers in center_sequence(X, 9, np.random.default_rng(1)):
        labels = check_pass(tested, X, None, centers, labels)


# Medians that follow the rows


def drifting(rng, X, n_clusters, n_passes, size):
    """Centres that drift so that a few rows change clusters in each pass."""
    centers = X[rng.choice(len(X), n_clusters, replace=False)].astype(float)
    for _ in range(n_passes):
        yield centers
        centers = centers + size * (np.abs(centers) + 1) * rng.normal(size=centers.shape)


@pytest.mark.parametrize("kind", ["normal", "integers", "mostly zero", "far apart"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_rows", "n_clusters"), [(3000, 2), (9000, 12), (2000, 30)])
def test_medians_follow_moves(n_rows, n_clusters, dtype, kind):
    rng = np.random.default_rng(n_rows)
    X = rng.normal(size=(n_rows, 4))
    if kind == "integers":
        X = np.round(4 * X)
    elif kind == "mostly zero":
        X *= rng.uniform(size=X.shape) < 0.4
    elif kind == "far apart":
        X *= 10.0 ** rng.integers(-8, 8, size=X.shape)
    X = X.astype(dtype)
    tested = ALGORITHMS["bounded"](X, None, n_clusters, frame_for(X))
    labels = tested.labels.copy()
    n_moved = []
    for size in (0.005, 0.02, 0.1):
        for centers in drifting(rng, X, n_clusters, 20, size):
            before = labels
            labels = check_pass(tested, X, None, centers.astype(dtype).astype(float), labels)
            n_moved.append(int((labels != before).sum()))
    # Otherwise nothing was followed.
    assert sum(0 < n < n_rows // 8 for n in n_moved) > 10


def test_medians_without_following_every_pass():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3))
    tested = ALGORITHMS["plain"](X, None, 5, frame_for(X))
    for i, centers in enumerate(drifting(rng, X, 5, 12, 0.02)):
        tested.assign(centers)
        if i % 3 != 1:
            expected = cluster_medians(X, tested.labels, 5)
            np.testing.assert_array_equal(tested.medians(), expected)
            np.testing.assert_array_equal(tested.medians(), expected)


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 4), st.integers(1, 140), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_any_integers(data, n_features, n_rows, n_clusters, dtype):
    """Exact arithmetic: all must be equal, ties included."""
    values, halves = st.integers(-8, 8).map(float), st.integers(-16, 16).map(lambda v: v / 2)
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=values))
    weights = data.draw(
        st.one_of(st.none(), arrays(np.float64, n_rows, elements=st.integers(0, 3).map(float)))
    )
    sequence = [
        data.draw(arrays(np.float64, (n_clusters, n_features), elements=halves))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    for algorithm in CLASSES:
        tested = algorithm(X, weights, n_clusters, Frame(np.zeros(n_features), 0.25))
        labels = tested.labels.copy()
        for centers in sequence:
            labels = check_pass(tested, X, weights, centers, labels)


wild = st.builds(
    lambda m, e: m * 2.0**e, st.integers(-64, 64), st.sampled_from([-75, -40, -9, 0, 0, 0, 9, 40])
)


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 4), st.integers(1, 100), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_wild_numbers(data, n_features, n_rows, n_clusters, dtype):
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=wild, fill=wild))
    sequence = [
        data.draw(arrays(np.float64, (n_clusters, n_features), elements=wild, fill=wild))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    for algorithm in CLASSES:
        tested = algorithm(X, None, n_clusters, frame_for(X))
        labels = tested.labels.copy()
        for centers in sequence:
            labels = check_pass(tested, X, None, centers, labels)


# Nothing outside of the arrays


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(65, 1, 3), (129, 3, 65), (700, 7, 129), (63, 65, 7), (9001, 9, 3)]
)
@pytest.mark.parametrize("algorithm", CLASSES)
def test_guard_padding(algorithm, shape, dtype, weighted):
    """Rows, weights, centres and all that an algorithm keeps lie between NaN or sentinels."""
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    weights = rng.uniform(size=n_rows) if weighted else None
    guarded = [Guarded(X)]
    if weighted:
        guarded.append(Guarded(weights))
    tested = algorithm(
        guarded[0].array, guarded[-1].array if weighted else None, n_clusters, frame_for(X)
    )
    for name, value in vars(tested).items():
        if isinstance(value, np.ndarray) and value.flags.writeable:
            guarded.append(Guarded(value))
            setattr(tested, name, guarded[-1].array)
    following = tested._medians
    following._labels = tested.labels
    guarded.append(Guarded(following.medians))
    following.medians = guarded[-1].array
    if following._brackets is not None:
        brackets = [Guarded(array) for array in following._brackets]
        guarded += brackets
        following._brackets = type(following._brackets)(*(b.array for b in brackets))
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, rng):
        guarded.append(Guarded(centers.astype(dtype).astype(float)))
        labels = check_pass(tested, X, weights, guarded[-1].array, labels)
    for centers in drifting(rng, X, n_clusters, 5, 0.01):
        labels = check_pass(tested, X, weights, centers, labels)
    assert all(array.intact() for array in guarded)


@pytest.mark.parametrize("algorithm", CLASSES)
def test_rows_may_be_read_only(algorithm):
    X = np.random.default_rng(0).normal(size=(70, 5))
    weights = np.ones(70)
    X.flags.writeable = weights.flags.writeable = False
    tested = algorithm(X, weights, 4, frame_for(X))
    check_pass(tested, X, weights, X[:4], tested.labels.copy())


def test_any_number_of_threads_gives_the_same_bits():
    script = """
        import hashlib
        import numba
        import numpy as np
        from fastem.kernels.kmeans import Frame
        from fastem.kernels.kmedians import ALGORITHMS
        for n_threads in (1, 2, 3):
            numba.set_num_threads(n_threads)
            for algorithm in ALGORITHMS.values():
                digest = hashlib.sha256()
                for dtype in (np.float32, np.float64):
                    rng = np.random.default_rng(0)
                    X = rng.normal(size=(9000, 8)).astype(dtype)
                    for weights in (None, rng.uniform(size=len(X))):
                        tested = algorithm(X, weights, 70, Frame(np.zeros(8), 0.5))
                        centers = rng.normal(size=(70, 8))
                        for _ in range(8):
                            statistics = tested.assign(centers)
                            medians = tested.medians()
                            digest.update(tested.labels.tobytes() + medians.tobytes())
                            digest.update(statistics.weights.tobytes())
                            digest.update(np.float64(statistics.inertia).tobytes())
                            centers = np.nan_to_num(medians.astype(float))
                print(n_threads, algorithm.name, digest.hexdigest())
    """
    lines = [line.split() for line in run_script(script, NUMBA_NUM_THREADS=3).splitlines()]
    for algorithm in CLASSES:
        digests = [digest for _, name, digest in lines if name == algorithm.name]
        assert len(digests) == 3
        assert len(set(digests)) == 1
