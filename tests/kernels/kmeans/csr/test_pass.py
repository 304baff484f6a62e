"""The labels of CSR rows are those of exact arithmetic, whatever float32 makes of the scores."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from clustering_passes import DTYPES, check_pass, frame_for, rows_for
from guards import Guarded

from fastem.kernels.clusters import Frame
from fastem.kernels.distances.sparse import pack_sparse, twofold_norms
from fastem.kernels.kmeans import Sparse
from fastem.kernels.kmeans.csr import table as tables
from fastem.kernels.kmeans.csr.table import fill_table, is_coarse, row_lengths
from fastem.kernels.vectors.machine import WIDENS_HALVES


@pytest.fixture(params=["float32", "halves"])
def kind(request, monkeypatch):
    """Which tables there are, however large they are."""
    monkeypatch.setattr(tables, "_LARGE", 0 if request.param == "halves" else 1 << 40)
    return request.param


def scattered(rng, shape, dtype, share=0.3):
    return (rng.normal(size=shape) * (rng.uniform(size=shape) < share)).astype(dtype)


def made(X, n_clusters, scale=None):
    frame = frame_for(Sparse, X) if scale is None else Frame(np.zeros(X.shape[1]), scale)
    return Sparse(rows_for(Sparse, X), None, n_clusters, frame)


def check_labels(X, centers, scale=None, tested=None):
    """The labels against NumPy's; the algorithm that made them."""
    tested = tested or made(X, len(centers), scale)
    tested.label_rows(centers)
    expected = reference.squared_distances(X.astype(float), centers).argmin(axis=1)
    np.testing.assert_array_equal(tested.labels, expected)
    return tested


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", [1, 15, 16, 17, 63, 65, 170, 300, 321, 700])
def test_any_number_of_pieces(n_clusters, dtype, kind):
    rng = np.random.default_rng(n_clusters)
    X = scattered(rng, (900, 40), dtype)
    X[::50] = 0  # empty rows
    centers = X[rng.integers(0, len(X), n_clusters)] + 0.1 * rng.normal(size=(n_clusters, 40))
    tested = check_labels(X, centers.astype(dtype).astype(float))
    assert is_coarse(tested._table) == (kind == "halves" and WIDENS_HALVES)
    assert not tested._is_exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n_features", [1, 3, 17, 300])
def test_close_calls(n_features, scale, dtype, kind):
    """Pairs of centres so close that float32 scores err by more than their difference."""
    rng = np.random.default_rng(n_features)
    X = (scale * scattered(rng, (600, n_features), dtype, 0.5)).astype(dtype)
    centers = scale * rng.normal(size=(6, n_features))
    for tested in (made(X, 12), made(X, 12, 1.0)):
        labels = tested.labels.copy()
        for step in 10.0 ** -np.arange(3, 8 if dtype is np.float32 else 11):
            pairs = np.concatenate([centers, centers * (1 + step * rng.normal(size=centers.shape))])
            labels = check_pass(tested, X, None, pairs.astype(dtype).astype(float), labels)


@pytest.mark.parametrize("n_features", [17, 300])
def test_close_calls_of_float32_centers(n_features, kind):
    """Centres that are written in place are of the rows' dtype."""
    rng = np.random.default_rng(n_features)
    X = scattered(rng, (600, n_features), np.float32, 0.5)
    centers = rng.normal(size=(20, n_features))
    for step in 10.0 ** -np.arange(3, 8):
        pairs = np.concatenate([centers, centers * (1 + step * rng.normal(size=centers.shape))])
        pairs = pairs.astype(np.float32)
        tested = made(X, 40)
        tested.relabel(pairs, tested.means())
        expected = reference.squared_distances(X, pairs).argmin(axis=1)
        np.testing.assert_array_equal(tested.labels, expected)


def test_few_open_rows_are_decided_one_by_one():
    rng = np.random.default_rng(0)
    X = scattered(rng, (4000, 30), np.float64)
    centers = rng.normal(size=(20, 30))
    direction = centers[1] - centers[0]
    for row, step in enumerate(10.0 ** -np.arange(6, 14, 0.5)):  # beside the plane between two
        X[row] = 0.5 * (centers[0] + centers[1]) + (-1) ** row * step * direction
    tested = check_labels(X, centers)
    n_open, n_left = tested._counts.sum(axis=1)
    assert 5 <= n_open <= 40
    assert n_left == 0
    assert not tested._is_exact


def test_rows_between_many_centers_are_compared_with_all():
    rng = np.random.default_rng(0)
    X = scattered(rng, (4000, 30), np.float64)
    centers = rng.normal(size=(60, 30))
    centers[20:] = 5 + 1e-9 * rng.normal(size=(40, 30))
    X[:100] = 5 + 0.1 * rng.normal(size=(100, 30))
    tested = check_labels(X, centers)
    assert tested._counts.sum(axis=1)[1] == 100
    assert not tested._is_exact


def test_where_few_digits_decide_little_float64_is_taken(kind):
    rng = np.random.default_rng(0)
    X = 1e4 + rng.normal(size=(1500, 30))
    centers = 1e4 + rng.normal(size=(20, 30))
    tested = check_labels(X, centers)
    for _ in range(2):  # halves are given up after two passes
        centers = centers + 0.1 * rng.normal(size=centers.shape)
        check_labels(X, centers, tested=tested)
    assert not is_coarse(tested._table)
    assert tested._is_exact
    check_labels(X, centers + 0.1 * rng.normal(size=centers.shape), tested=tested)


def test_the_first_of_equal_centers(kind):
    X = scattered(np.random.default_rng(0), (1000, 30), np.float32)
    centers = np.tile(X[:5].astype(float), (4, 1))
    tested = check_labels(X, centers)
    assert tested.labels.max() < 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 2.0**-20])
@pytest.mark.parametrize("tiny", [1e-10, 1e-18, 1e-21, 1e-25, 1e-36])
def test_rows_that_vanish_beside_far_ones(tiny, scale, dtype, kind):
    """They, or their products with centres, are subnormal, or nothing, in float32."""
    rng = np.random.default_rng(0)
    X = (scattered(rng, (300, 7), dtype) * tiny).astype(dtype)
    X[:2] = [[1] * 7, [-1] * 7]
    centers = rng.normal(size=(8, 7)) * tiny
    centers[3], centers[5] = 1, -1
    check_labels(X, centers.astype(dtype).astype(float), scale)


@pytest.mark.parametrize("far", [1e15, 1e200])
def test_rows_beyond_float32(far, kind):
    rng = np.random.default_rng(0)
    X = scattered(rng, (500, 12), np.float64)
    X[:20] *= far
    centers = rng.normal(size=(9, 12))
    tested = made(X, 9, 1.0)
    tested.label_rows(centers)
    # By the inner products: the squares of such rows would overflow or swallow them.
    half = 0.5 * (centers**2).sum(axis=1)
    near = reference.squared_distances(X[20:], centers).argmin(axis=1)
    remote = (half / far - (X[:20] / far) @ centers.T).argmin(axis=1)
    np.testing.assert_array_equal(tested.labels, np.concatenate([remote, near]))


@pytest.mark.parametrize("far", [1e5, 1e15, 1e25, 1e100])
def test_centers_beyond_float32(far, kind):
    rng = np.random.default_rng(0)
    X = scattered(rng, (500, 12), np.float64)
    centers = rng.normal(size=(9, 12))
    centers[0] *= far
    check_labels(X, centers, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_that_are_stored_and_wide_indices(dtype):
    rng = np.random.default_rng(0)
    X = scattered(rng, (700, 20), dtype)
    A = sp.csr_array(X)
    A.data[::7] = 0
    X = A.toarray()
    A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    tested = Sparse(A, None, 11, frame_for(Sparse, X))
    check_labels(X, rng.normal(size=(11, 20)), tested=tested)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", [3, 70])
def test_nothing_is_read_or_written_beside_the_table(n_clusters, dtype, kind):
    rng = np.random.default_rng(0)
    X = scattered(rng, (700, 33), dtype)
    tested = made(X, n_clusters)
    arrays = {k: v for k, v in tested._table._asdict().items() if isinstance(v, np.ndarray)}
    guards = {name: Guarded(array) for name, array in arrays.items()}
    tested._table = tested._table._replace(**{name: g.array for name, g in guards.items()})
    totals = [Guarded(getattr(tested._totals, name)) for name in ("sums", "weights")]
    tested._totals.sums, tested._totals.weights = (guarded.array for guarded in totals)
    labels = tested.labels.copy()
    for _ in range(4):
        centers = rng.normal(size=(n_clusters, 33)).astype(dtype).astype(float)
        labels = check_pass(tested, X, None, centers, labels)
    assert all(guarded.intact() for guarded in [*guards.values(), *totals])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", [2, 4, 16, 40])
def test_bounds_hold_and_are_close(n_clusters, dtype, kind):
    """On the score of each row's own centre and on the least of all others'."""
    rng = np.random.default_rng(n_clusters)
    X = scattered(rng, (1100, 30), dtype)
    centers = rng.normal(size=(n_clusters, 30)).astype(dtype).astype(float)
    tested = check_labels(X, centers, 1.0)
    own, others = tested._bounds.astype(float)
    scores = 0.5 * (centers**2).sum(axis=1) - X.astype(float) @ centers.T
    rows = np.arange(len(X)), tested.labels
    exact = scores[rows]
    scores[rows] = np.inf
    least = scores.min(axis=1)
    close = 0.1 if is_coarse(tested._table) else 1e-3
    assert (own >= exact).all() and (others <= least).all()
    assert (own <= exact + close).all() and (others >= least - close).all()


def test_scores_err_by_less_than_their_bound(kind):
    """Against float64, on rows of up to thousands of values of one sign, whose errors add up."""
    rng = np.random.default_rng(0)
    X = np.abs(scattered(rng, (40, 5000), np.float64, 0.7)) + 0.1
    centers = np.abs(rng.normal(size=(9, 5000)))
    tested = made(X, 9)
    scale = float(tested._frame.scale)
    factor = fill_table(tested._table, centers, twofold_norms(centers)[0], scale)
    assert factor > 0
    lanes = len(tested._table.halves)
    values = tested._table.values
    if is_coarse(tested._table):
        values = values.view(np.float16).astype(np.float32)
    values = values.reshape(5000, lanes)[:, :9]
    halves = tested._table.halves[:9]
    exact = 0.5 * ((centers * scale) ** 2).sum(axis=1) - (X * scale) @ (centers * scale).T
    total = np.zeros(exact.shape, np.float32)
    for f in range(5000):  # the longest chain there is
        total = total + np.float32(X[:, f : f + 1]) * values[f]
    total = halves - np.float32(factor) * total
    lengths = row_lengths((X**2).sum(axis=1), scale)[:, np.newaxis]
    bound = 1.02 * 2.0**-24 * (5000 + 16)
    bound = bound * (tested._table.sizes[:9] + lengths * tested._table.lengths[:9])
    bound += tables.rounding(tested._table) * lengths * tested._table.lengths[:9]
    assert (np.abs(total - exact) < bound).all()
    assert (lengths[:, 0] >= np.sqrt((X**2).sum(axis=1)) * scale).all()


def test_norms_in_twofold_precision():
    rng = np.random.default_rng(0)
    for n_features in (1, 15, 16, 17, 500):
        points = rng.normal(size=(7, n_features))
        expected = pack_sparse(points)
        high, low = twofold_norms(points)
        np.testing.assert_allclose(
            (high - expected.high) + (low - expected.low), 0, atol=1e-28 * n_features
        )


def watched(tested):
    """A list that gets how many rows bounds have left open in each pass."""
    n_left, keep = [], tested._keep
    tested._keep = lambda *args: n_left.append(keep(*args)) or n_left[-1]
    return n_left


def check_bounds(tested, X, centers):
    """What is known of the scores holds."""
    scale = float(tested._frame.scale)
    X, centers = X.astype(np.longdouble) * scale, centers.astype(np.longdouble) * scale
    scores = 0.5 * (centers**2).sum(axis=1) - X @ centers.T
    rows = np.arange(len(X))
    own, others = tested._bounds
    assert (scores[rows, tested.labels] <= own).all()
    scores[rows, tested.labels] = np.inf
    assert (others <= scores.min(axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_clusters", [2, 10, 50, 130])
def test_labels_are_kept_where_centers_move_little(n_clusters, dtype, kind):
    """All of them or a few, by less and less, far away, hardly at all, and back again."""
    rng = np.random.default_rng(n_clusters)
    X = scattered(rng, (1500, 40), dtype) * 10.0 ** rng.integers(-3, 2, (1500, 1))
    X = X.astype(dtype)
    X[::50], X[1::50] = 0, X[2::50]
    centers = X[rng.choice(1500, n_clusters)] + 0.1 * rng.normal(size=(n_clusters, 40))
    tested = made(X, n_clusters)
    n_left = watched(tested)
    check_labels(X, centers, tested=tested)
    for step in range(24):
        moved = rng.choice(n_clusters, [n_clusters, 1, n_clusters // 5, 0][step % 4], replace=False)
        before, centers = centers, centers.copy()
        centers[moved] += 10.0 ** -(step / 2) * rng.normal(size=(len(moved), 40))
        if step % 5 == 1:
            centers[rng.integers(n_clusters)] = X[rng.integers(1500)]
        if step % 7 == 1:
            centers[rng.integers(n_clusters)] *= 1 + 2.0**-50
        check_labels(X, centers, tested=tested)
        check_bounds(tested, X, centers)
        if step % 6 == 5:
            centers = before
    assert len(n_left) == 24
    assert 0 < np.count_nonzero(np.array(n_left) < 1000) < 24


@pytest.mark.parametrize("n_moved", [1, 5, 16, 17, 60])
def test_rows_are_compared_with_those_centers_that_moved(n_moved, kind):
    rng = np.random.default_rng(n_moved)
    X = scattered(rng, (2000, 60), np.float64)
    centers = rng.normal(size=(100, 60))
    tested = check_labels(X, centers)
    n_left = watched(tested)
    for size in (1.0, 0.3, 1e-3, 0.0, 1e-9, 2.0):
        moved = rng.choice(100, n_moved, replace=False)
        centers = centers.copy()
        centers[moved] = X[rng.choice(2000, n_moved)] + size * rng.normal(size=(n_moved, 60))
        check_labels(X, centers, tested=tested)
        check_bounds(tested, X, centers)
        assert (tested._some is not None) == (n_moved <= len(tested._table.halves) / 4)
    assert 0 < max(n_left)
    assert min(n_left) < 1500


@pytest.mark.parametrize("far", [1e5, 1e15, 1e25, 1e100])
def test_nothing_is_known_after_centers_that_are_too_long(far, kind):
    rng = np.random.default_rng(0)
    X = scattered(rng, (500, 12), np.float64)
    X[:3] *= 1e10
    centers = rng.normal(size=(9, 12))
    tested = made(X, 9, 1.0)
    for factor in (1.0, far, 1.0, 1.0, far, far, 1.0):
        centers = centers + 1e-3 * rng.normal(size=centers.shape)
        remote = centers.copy()
        remote[0] *= factor
        check_labels(X, remote, tested=tested)


def test_sums_follow_the_rows_that_move():
    """Few moves are added and subtracted, many are summed anew; the weights go along."""
    rng = np.random.default_rng(0)
    X = scattered(rng, (3000, 50), np.float64)
    weights = rng.uniform(size=3000) * (rng.uniform(size=3000) < 0.8)
    tested = Sparse(sp.csr_array(X), weights, 13, frame_for(Sparse, X))
    labels = tested.labels.copy()
    centers = rng.normal(size=(13, 50))
    for step in (0, 1e-3, 1e-2, 0.1, 1, 1e-2):
        centers = centers + step * rng.normal(size=centers.shape)
        labels = check_pass(tested, X, weights, centers, labels)
    tested.label_rows(centers + 1)  # for the labels only: the sums aren't brought up to date
    check_pass(tested, X, weights, centers, labels)
