"""Every exact K-means and K-medians algorithm against its naive twin, pass by pass."""

import numpy as np
import pytest
import scipy.sparse as sp
from clustering_passes import (
    CLASSES,
    DENSE,
    DTYPES,
    KMEDIANS,
    SHAPES,
    center_sequence,
    check_pass,
    drifting,
    frame_for,
    rows_for,
)
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from processes import run_script

from fastem.kernels.clusters import Frame
from fastem.kernels.clusters.moves import Moves
from fastem.kernels.kmeans import Sparse
from fastem.kernels.medians.brackets import Brackets


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
    tested = algorithm(rows_for(algorithm, X), sample_weight, n_clusters, frame_for(algorithm, X))
    assert (tested.labels == -1).all()
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, rng):
        labels = check_pass(tested, X, sample_weight, centers, labels)


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
        labels = check_pass(tested, X, None, centers, labels)
        centers[rng.integers(30, size=step)] += rng.choice([-1, 1, 0.5], size=(step, 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n_features", [1, 3, 17, 65, 300])
@pytest.mark.parametrize("algorithm", DENSE)
def test_close_calls(algorithm, n_features, scale, dtype):
    """Pairs of centres so close that float32 distances err by more than their difference."""
    rng = np.random.default_rng(n_features)
    X = (scale * (rng.normal(size=(400, n_features)) + 5)).astype(dtype)
    for frame in (frame_for(algorithm, X), Frame(np.zeros(n_features), 1.0)):
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
@pytest.mark.parametrize("n_clusters", [2, 16, 100])
@pytest.mark.parametrize("algorithm", DENSE)
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
@pytest.mark.parametrize("scale", [1.0, 2.0**-20])
@pytest.mark.parametrize("tiny", [1e-10, 1e-18, 1e-21, 1e-25, 1e-36])
@pytest.mark.parametrize("algorithm", DENSE)
def test_rows_that_vanish_beside_far_ones(algorithm, tiny, scale, dtype):
    """They, or their products with centres, are subnormal, or nothing, in float32."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 3)) * tiny).astype(dtype)
    X[:2] = [[1], [-1]]
    tested = algorithm(X, None, 8, Frame(np.zeros(3), scale))
    labels = tested.labels.copy()
    centers = rng.normal(size=(8, 3)) * tiny
    centers[3], centers[5] = 1, -1
    for _ in range(4):
        centers = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, centers, labels)
        centers = centers * (1 + 0.3 * rng.normal(size=centers.shape))


@pytest.mark.parametrize("algorithm", DENSE)
def test_far_from_the_origin(algorithm):
    """The frame takes the offset out; what is left decides."""
    X = np.random.default_rng(0).normal(size=(500, 5)) + 1e7
    tested = algorithm(X, None, 9, frame_for(algorithm, X))
    labels = tested.labels.copy()
    for centers in center_sequence(X, 9, np.random.default_rng(1)):
        labels = check_pass(tested, X, None, centers, labels)


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 5), st.integers(1, 140), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_any_integers(data, n_features, n_rows, n_clusters, dtype):
    """Exact arithmetic: labels, statistics and the inertia must be equal, ties included."""
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
        frame = Frame(np.zeros(n_features), 0.25)
        tested = algorithm(rows_for(algorithm, X), weights, n_clusters, frame)
        labels = tested.labels.copy()
        for centers in sequence:
            labels = check_pass(tested, X, weights, centers, labels, exact=True)


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
    guards = []

    def guard(value):
        if not isinstance(value, np.ndarray):
            return value
        guards.append(Guarded(value))
        return guards[-1].array

    weights = guard(rng.uniform(size=n_rows)) if weighted else None
    if algorithm is Sparse:
        rows = sp.csr_array(X * (X > 0))
        X = rows.toarray()
        for name in ("data", "indices", "indptr"):
            setattr(rows, name, guard(getattr(rows, name)))
    else:
        rows = guard(X)
    tested = algorithm(rows, weights, n_clusters, frame_for(algorithm, X))
    if algorithm in KMEDIANS:  # whose medians are made once they are asked for
        first = next(iter(center_sequence(X, n_clusters, rng)))
        check_pass(tested, X, weights, first, tested.labels.copy())
    for owner in [tested, tested._medians] if algorithm in KMEDIANS else [tested]:
        for name, value in vars(owner).items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                setattr(owner, name, guard(value))
            elif isinstance(value, Brackets | Moves):
                setattr(owner, name, type(value)(*map(guard, value)))
    if algorithm in KMEDIANS:
        tested._medians._labels = tested.labels
    assert len(guards) > 5
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, rng):
        labels = check_pass(tested, X, weights, centers, labels)
    for centers in drifting(rng, X, n_clusters, 5, 0.01):
        labels = check_pass(tested, X, weights, centers, labels)
    assert all(guarded.intact() for guarded in guards)


@pytest.mark.parametrize("algorithm", CLASSES)
def test_rows_may_be_read_only(algorithm):
    X = np.random.default_rng(0).normal(size=(70, 5))
    weights = np.ones(70)
    X.flags.writeable = weights.flags.writeable = False
    tested = algorithm(rows_for(algorithm, X), weights, 4, frame_for(algorithm, X))
    check_pass(tested, X, weights, X[:4], tested.labels.copy())


def test_any_number_of_threads_gives_the_same_bits():
    script = """
        import hashlib
        import numba
        import numpy as np
        import scipy.sparse as sp
        from fastem.kernels import kmeans, kmedians
        from fastem.kernels.clusters import Frame
        from fastem.kernels.kmeans import Sparse
        for n_threads in (1, 2, 3):
            numba.set_num_threads(n_threads)
            for algorithm in (*kmeans.ALGORITHMS.values(), *kmedians.ALGORITHMS.values(), Sparse):
                digest = hashlib.sha256()
                for dtype in (np.float32, np.float64):
                    rng = np.random.default_rng(0)
                    X = rng.normal(size=(9000, 8)).astype(dtype)
                    for weights in (None, rng.uniform(size=len(X))):
                        rows = sp.csr_array(X * (X > 0.5)) if algorithm is Sparse else X
                        tested = algorithm(rows, weights, 70, Frame(np.zeros(8), 0.5))
                        centers = rng.normal(size=(70, 8))
                        for _ in range(8):
                            statistics = tested.assign(centers)
                            digest.update(tested.labels.tobytes())
                            for value in (*statistics[:3], tested.inertia(centers)):
                                digest.update(np.asarray(value).tobytes())
                            if algorithm in kmedians.ALGORITHMS.values():
                                centers = np.nan_to_num(statistics.medians.astype(float))
                            else:
                                centers = statistics.sums / statistics.weights[:, None].clip(1e-9)
                            digest.update(centers.tobytes())
                print(n_threads, algorithm.name, digest.hexdigest())
    """
    lines = [line.split() for line in run_script(script, NUMBA_NUM_THREADS=3).splitlines()]
    for algorithm in CLASSES:
        digests = [digest for _, name, digest in lines if name == algorithm.name]
        assert len(digests) == 3
        assert len(set(digests)) == 1
