"""Every exact K-means algorithm against its naive twin, pass by pass and over whole fits."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from processes import run_script
from reference import cluster_statistics, squared_distances

from fastem.kernels.kmeans import ALGORITHMS, Frame
from fastem.kernels.kmeans.sparse import Sparse

DTYPES = [np.float32, np.float64]
CLASSES = [*ALGORITHMS.values(), Sparse]
DENSE = list(ALGORITHMS.values())

# Rows, features, clusters: none but 64 divides a tile or a block of centres.
SHAPES = [
    (1, 1, 1), (2, 1, 2), (3, 2, 7), (7, 3, 3), (63, 7, 2), (64, 64, 64), (65, 63, 3),
    (129, 129, 7), (129, 1, 63), (65, 65, 129), (700, 2, 1), (1500, 3, 65), (1100, 7, 129),
    (600, 129, 63), (2000, 1, 7), (3, 300, 2),
]  # fmt: skip


def rows_for(algorithm, X):
    return sp.csr_array(X) if algorithm is Sparse else X


def frame_for(algorithm, X):
    """As a fit chooses it; sparse rows can't be shifted."""
    origin = np.zeros(X.shape[1])
    if algorithm is not Sparse:
        origin = X.mean(axis=0, dtype=float).astype(X.dtype).astype(float)
    spread = np.sqrt(((X - origin) ** 2).sum(axis=1).mean())
    return Frame(origin, 2.0 ** -np.round(np.log2(spread)) if spread > 0 else 1.0)


def check_pass(algorithm, X, sample_weight, frame, centers, labels_before):
    """One pass, against NumPy; returns the labels."""
    statistics = algorithm.assign(centers)
    rows = X.astype(float) - frame.origin
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    distances = squared_distances(rows, centers)
    labels = distances.argmin(axis=1)
    np.testing.assert_array_equal(algorithm.labels, labels)
    assert algorithm.labels.dtype == np.int32
    assert statistics.n_changed == (labels != labels_before).sum()
    sums, totals = cluster_statistics(rows, weights, labels, len(centers))
    size = np.abs(rows * weights[:, np.newaxis]).sum(axis=0)
    np.testing.assert_allclose(statistics.sums, sums, rtol=0, atol=1e-12 * (size + 1e-300).max())
    np.testing.assert_allclose(statistics.weights, totals, rtol=1e-12, atol=1e-12)
    # Nothing, not a remainder of rounding, where there is nothing.
    assert (statistics.weights[totals == 0] == 0).all()
    inertia = weights @ distances[np.arange(len(X)), labels]
    np.testing.assert_allclose(algorithm.inertia(centers), inertia, rtol=1e-11, atol=1e-300)
    return labels


def center_sequence(X, n_clusters, origin, rng):
    """Small steps, leaps, a return, a standstill, one centre alone, all in one place."""
    chosen = rng.integers(0, len(X), n_clusters)
    centers = X[chosen].astype(float) - origin + 0.1 * rng.normal(size=(n_clusters, X.shape[1]))
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
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    if algorithm is Sparse:
        X *= rng.uniform(size=X.shape) < 0.4
    else:
        X += dtype(3)
    X[n_rows // 2 :: 3] = X[0]  # duplicates
    sample_weight = None
    if weighting == "some zero":
        sample_weight = rng.uniform(size=n_rows) * (rng.uniform(size=n_rows) < 0.7)
    frame = frame_for(algorithm, X)
    tested = algorithm(rows_for(algorithm, X), sample_weight, n_clusters, frame)
    assert (tested.labels == -1).all()
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, frame.origin, rng):
        # A fit on float32 rows holds centres that are float32 numbers.
        centers = (centers + frame.origin).astype(dtype).astype(float) - frame.origin
        labels = check_pass(tested, X, sample_weight, frame, centers, labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", CLASSES)
def test_the_lowest_of_equally_near_centers(algorithm, dtype):
    """On a grid, where float64 is exact and most rows have several nearest centres."""
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (1300, 3)).astype(dtype)
    frame = Frame(np.zeros(3) if algorithm is Sparse else np.array([1.0, 0, -2]), 0.5)
    tested = algorithm(rows_for(algorithm, X), None, 30, frame)
    labels = tested.labels.copy()
    centers = rng.integers(-3, 4, (30, 3)) + 0.5
    centers[20:] = centers[:10]
    for step in range(6):
        labels = check_pass(tested, X, None, frame, centers, labels)
        centers[rng.integers(30, size=step)] += rng.choice([-1, 1, 0.5], size=(step, 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", DENSE)
def test_rows_that_float32_cannot_tell_apart(algorithm, dtype):
    """Rows and centres a few units in the last place apart, beside a far row and a far centre."""
    rng = np.random.default_rng(0)
    unit = np.spacing(dtype(1))
    X = 1 + unit * rng.integers(-3, 4, (400, 4)).astype(dtype)
    X[7] = -3
    frame = Frame(np.ones(4), 4.0)
    tested = algorithm(X, None, 12, frame)
    labels = tested.labels.copy()
    centers = unit * rng.integers(-3, 4, (12, 4)).astype(float)
    centers[5] = 2
    for _ in range(5):
        labels = check_pass(tested, X, None, frame, centers, labels)
        centers += unit * rng.integers(-1, 2, centers.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 3, 17, 65, 300])
@pytest.mark.parametrize("algorithm", DENSE)
def test_close_calls(algorithm, n_features, dtype):
    """Pairs of centres so close that float32 scores err by more than their difference."""
    rng = np.random.default_rng(n_features)
    X = rng.normal(size=(400, n_features)).astype(dtype)
    frame = frame_for(algorithm, X)
    tested = algorithm(X, None, 12, frame)
    labels = tested.labels.copy()
    centers = rng.normal(size=(6, n_features))
    for step in 10.0 ** -np.arange(3, 8 if dtype is np.float32 else 11):
        pairs = np.concatenate([centers, centers * (1 + step * rng.normal(size=centers.shape))])
        pairs = (pairs + frame.origin).astype(dtype).astype(float) - frame.origin
        labels = check_pass(tested, X, None, frame, pairs, labels)


# To and fro at first, so that the rows close by are compared anew and get bounds of their own.
SWEEPS = [
    0.5 - np.arange(80) * 0.013,
    np.array([0, 0.02, 0, 0.02, 0, *np.arange(1, 40) * 0.013]),
]


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", [2, 16, 100])
@pytest.mark.parametrize("algorithm", DENSE)
def test_bounds_that_just_fail(algorithm, n_clusters, dtype, sweep):
    """A boundary sweeps over the rows: each must be compared just when it is reached."""
    X = np.random.default_rng(0).uniform(-1, 1, (4000, 1)).astype(dtype)
    frame = Frame(np.zeros(1), 1.0)
    tested = algorithm(X, None, n_clusters, frame)
    labels = tested.labels.copy()
    for position in sweep:
        centers = np.full((n_clusters, 1), 4.0) + np.arange(n_clusters)[:, np.newaxis]
        centers[:2] = [[position - 2], [position + 2]]
        centers = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, frame, centers, labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tiny", [1e-10, 1e-18, 1e-21, 1e-25])
@pytest.mark.parametrize("algorithm", DENSE)
def test_rows_that_vanish_beside_far_ones(algorithm, tiny, dtype):
    """Their products with centres are subnormal, or nothing, in float32."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 3)) * tiny).astype(dtype)
    X[:2] = [[1], [-1]]
    frame = Frame(np.zeros(3), 1.0)
    tested = algorithm(X, None, 8, frame)
    labels = tested.labels.copy()
    centers = rng.normal(size=(8, 3)) * tiny
    centers[3], centers[5] = 1, -1
    for _ in range(4):
        centers = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, frame, centers, labels)
        centers = centers * (1 + 0.3 * rng.normal(size=centers.shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", DENSE)
def test_norms_whose_small_terms_vanish(algorithm, dtype):
    """Added to the first feature's square one by one, the others' squares would all be lost.

    The norm would be too small by more than the bound on its rounding, and the gap too large: the
    second centre comes nearest just before the gap is used up.
    """
    n_features = 784
    row = np.full(n_features, 2.0**-12)
    row[0] = 1
    X = np.tile(row, (70, 1)).astype(dtype)
    tested = algorithm(X, None, 2, Frame(np.zeros(n_features), 1.0))
    labels = tested.labels.copy()
    for distance in (0.1, 0.0035):
        centers = np.tile(row, (2, 1))
        centers[0, 100] += 0.0045
        centers[1, 200] += distance
        centers = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, tested._frame, centers, labels)
    assert (labels == 1).all()


def test_far_from_the_origin():
    """The frame takes the offset out; what is left decides."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5)) + 1e7
    for algorithm in DENSE:
        frame = frame_for(algorithm, X)
        tested = algorithm(X, None, 9, frame)
        labels = tested.labels.copy()
        for centers in center_sequence(X, 9, frame.origin, np.random.default_rng(1)):
            labels = check_pass(tested, X, None, frame, centers, labels)


# Whole fits


def blobs(rng):
    return rng.normal(size=(2500, 6)) + 6 * rng.normal(size=(12, 6))[rng.integers(12, size=2500)]


def noise(rng):
    return rng.uniform(size=(3000, 9))


def pixels(rng):
    """Colours of a smooth picture, in 256 steps: many duplicates and ties."""
    x, y = np.meshgrid(np.linspace(0, 3, 60), np.linspace(0, 2, 45))
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y)], axis=-1).reshape(-1, 3)
    return np.round(127 + 100 * waves + 5 * rng.normal(size=waves.shape)).clip(0, 255)


def fit(algorithm, X, start):
    """Plain iterations until nothing changes; the history of labels and the inertias."""
    frame = frame_for(algorithm, X)
    tested = algorithm(rows_for(algorithm, X), None, len(start), frame)
    centers = start - frame.origin
    history, inertias = [], []
    for _ in range(300):
        statistics = tested.assign(centers)
        history.append(tested.labels.copy())
        inertias.append(tested.inertia(centers))
        if statistics.n_changed == 0:
            break
        held = statistics.weights > 0
        centers = centers.copy()
        centers[held] = statistics.sums[held] / statistics.weights[held, np.newaxis]
        centers = (centers + frame.origin).astype(X.dtype).astype(float) - frame.origin
    return history, inertias, centers, frame


@pytest.mark.parametrize("n_clusters", [3, 20, 130])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data", [blobs, noise, pixels])
def test_fits_are_those_of_lloyd(data, dtype, n_clusters):
    X = data(np.random.default_rng(0)).astype(dtype)
    start = X[np.random.default_rng(1).choice(len(X), n_clusters, replace=False)].astype(float)
    expected, inertias, centers, frame = fit(ALGORITHMS["lloyd"], X, start)
    assert len(expected) > 4
    distances = squared_distances(X - frame.origin, centers)
    np.testing.assert_array_equal(expected[-1], distances.argmin(axis=1))
    for algorithm in DENSE:
        history, _, same_centers, _ = fit(algorithm, X, start)
        assert len(history) == len(expected)
        for labels, wanted in zip(history, expected, strict=True):
            np.testing.assert_array_equal(labels, wanted)
        np.testing.assert_array_equal(same_centers, centers)
    # Rounding the centres to float32 may cost that much.
    slack = 1e-12 if dtype is np.float64 else 1e-6
    for before, after in pairwise(inertias):
        assert after <= before * (1 + slack)


def test_a_sparse_fit_never_raises_the_objective():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 40)) * (rng.uniform(size=(900, 40)) < 0.2)
    history, inertias, centers, _ = fit(Sparse, X, X[:15].astype(float))
    np.testing.assert_array_equal(history[-1], squared_distances(X, centers).argmin(axis=1))
    assert len(inertias) > 4
    assert (np.diff(inertias) <= 1e-12 * inertias[0]).all()


# Whatever comes


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 5), st.integers(1, 140), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_any_integers(data, n_features, n_rows, n_clusters, dtype):
    """Exact arithmetic: labels, sums and the inertia must be equal, ties included."""
    values, halves = st.integers(-8, 8).map(float), st.integers(-16, 16).map(lambda v: v / 2)
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=values))
    weights = data.draw(arrays(np.float64, n_rows, elements=st.integers(0, 3).map(float)))
    sequence = [
        data.draw(arrays(np.float64, (n_clusters, n_features), elements=halves))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    for algorithm in CLASSES:
        frame = Frame(np.zeros(n_features), 0.25)
        tested = algorithm(rows_for(algorithm, X), weights, n_clusters, frame)
        for centers in sequence:
            statistics = tested.assign(centers)
            distances = squared_distances(X, centers)
            labels = distances.argmin(axis=1)
            np.testing.assert_array_equal(tested.labels, labels)
            sums, totals = cluster_statistics(X.astype(float), weights, labels, n_clusters)
            np.testing.assert_array_equal(statistics.sums, sums)
            np.testing.assert_array_equal(statistics.weights, totals)
            assert tested.inertia(centers) == weights @ distances.min(axis=1)


wild = st.builds(
    lambda m, e: m * 2.0**e, st.integers(-64, 64), st.sampled_from([-75, -40, -9, 0, 0, 0, 9, 40])
)


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 4), st.integers(1, 100), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_no_center_is_nearer(data, n_features, n_rows, n_clusters, dtype):
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=wild, fill=wild))
    frame = frame_for(ALGORITHMS["lloyd"], X)
    sequence = [
        data.draw(arrays(np.float64, (n_clusters, n_features), elements=wild, fill=wild))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    for algorithm in DENSE:
        tested = algorithm(X, None, n_clusters, frame)
        for centers in sequence:
            tested.assign(centers)
            distances = squared_distances(X - frame.origin, centers)
            chosen = distances[np.arange(n_rows), tested.labels]
            np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-13)


# Nothing outside of the arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(65, 1, 3), (129, 3, 65), (700, 7, 129), (63, 65, 7)])
@pytest.mark.parametrize("algorithm", CLASSES)
def test_guard_padding(algorithm, shape, dtype):
    """Rows, weights, centres and all that an algorithm keeps lie between NaN or sentinels."""
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    weights = rng.uniform(size=n_rows)
    guarded = [Guarded(weights)]
    if algorithm is Sparse:
        rows = sp.csr_array(X * (X > 0))
        X = rows.toarray()
        for name in ("data", "indices", "indptr"):
            guarded.append(Guarded(getattr(rows, name)))
            setattr(rows, name, guarded[-1].array)
    else:
        guarded.append(Guarded(X))
        rows = guarded[-1].array
    frame = frame_for(algorithm, X)
    tested = algorithm(rows, guarded[0].array, n_clusters, frame)
    for name, value in vars(tested).items():
        if isinstance(value, np.ndarray) and value.flags.writeable:
            guarded.append(Guarded(value))
            setattr(tested, name, guarded[-1].array)
    assert len(guarded) > 5
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, frame.origin, rng):
        guarded.append(Guarded(centers))
        labels = check_pass(tested, X, weights, frame, guarded[-1].array, labels)
    assert all(array.intact() for array in guarded)


@pytest.mark.parametrize("algorithm", CLASSES)
def test_rows_may_be_read_only(algorithm):
    X = np.random.default_rng(0).normal(size=(70, 5))
    X.flags.writeable = False
    weights = np.ones(70)
    weights.flags.writeable = False
    frame = frame_for(algorithm, X)
    tested = algorithm(rows_for(algorithm, X), weights, 4, frame)
    check_pass(tested, X, weights, frame, X[:4] - frame.origin, tested.labels.copy())


def test_any_number_of_threads_gives_the_same_bits():
    script = """
        import hashlib
        import numba
        import numpy as np
        import scipy.sparse as sp
        from fastem.kernels.kmeans import ALGORITHMS, Frame
        from fastem.kernels.kmeans.sparse import Sparse
        for n_threads in (1, 2, 3):
            numba.set_num_threads(n_threads)
            for algorithm in (*ALGORITHMS.values(), Sparse):
                digest = hashlib.sha256()
                for dtype in (np.float32, np.float64):
                    rng = np.random.default_rng(0)
                    X = rng.normal(size=(9000, 8)).astype(dtype)
                    weights = rng.uniform(size=len(X))
                    rows = sp.csr_array(X * (X > 0.5)) if algorithm is Sparse else X
                    tested = algorithm(rows, weights, 70, Frame(np.zeros(8), 0.5))
                    centers = rng.normal(size=(70, 8))
                    for _ in range(8):
                        statistics = tested.assign(centers)
                        digest.update(tested.labels.tobytes())
                        digest.update(statistics.sums.tobytes() + statistics.weights.tobytes())
                        digest.update(np.float64(tested.inertia(centers)).tobytes())
                        centers = statistics.sums / statistics.weights[:, None].clip(1e-9)
                print(n_threads, algorithm.name, digest.hexdigest())
    """
    lines = [line.split() for line in run_script(script, NUMBA_NUM_THREADS=3).splitlines()]
    for algorithm in CLASSES:
        digests = [digest for _, name, digest in lines if name == algorithm.name]
        assert len(digests) == 3
        assert len(set(digests)) == 1
