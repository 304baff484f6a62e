"""Passes that follow the centres' steps, on rows and steps that are hard for codes."""

import numpy as np
import pytest
from clustering_passes import (
    DTYPES,
    center_sequence,
    check_pass,
    drifting,
    frame_for,
    in_units_of,
    shorter_steps,
)
from hard_rows import KINDS

from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import Wide, choose, steps
from fastem.kernels.kmeans.steps import Steps, pays
from fastem.kernels.vectors.machine import BYTE_DOTS


@pytest.fixture
def always(monkeypatch):
    """Follow from the second pass on, whatever moves or fails, however little it saves."""
    for name, value in (("_MOST_MOVING", 1.0), ("_LEAST_FAILING", -1), ("_MOST_MEMORY", np.inf)):
        monkeypatch.setattr(steps, name, value)


def check_bounds(tested, X, centers):
    """What is kept of the scores holds for float64's."""
    if tested._followed is None:
        return
    rows, points = in_units_of(tested, X, centers)
    scores = 0.5 * (points**2).sum(axis=1) - rows @ points.T
    # What NumPy's own sums may be off by.
    size = (rows**2).sum(axis=1)[:, np.newaxis] + (points**2).sum(axis=1)
    slack = 1e-14 * X.shape[1] * size
    n = len(X)
    lows = tested._known.lows.swapaxes(1, 2).reshape(-1, len(centers))[:n]
    assert (lows <= scores + slack).all()
    own = np.arange(n), tested.labels
    assert (tested._known.above.ravel()[:n] >= scores[own] - slack[own]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(700, 33, 12), (650, 101, 5), (130, 64, 1), (1100, 70, 33)])
def test_passes(shape, kind, dtype, always):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(0)
    X = kind(rng, n_rows, n_features).astype(dtype)
    tested = Steps(X, None, n_clusters, frame_for(Steps, X))
    labels = tested.labels.copy()
    for centers in shorter_steps(rng, X, n_clusters):
        labels = check_pass(tested, X, None, centers, labels)
        if np.abs(X).max() < 1e12:
            check_bounds(tested, X, centers)


@pytest.mark.parametrize("weighting", ["none", "some zero"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_and_leaps(dtype, weighting, always):
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(900, 40)) + 3).astype(dtype)
    sample_weight = None
    if weighting == "some zero":
        sample_weight = rng.uniform(size=900) * (rng.uniform(size=900) < 0.7)
    tested = Steps(X, sample_weight, 9, frame_for(Steps, X))
    labels = tested.labels.copy()
    for centers in center_sequence(X, 9, rng):
        labels = check_pass(tested, X, sample_weight, centers, labels)
        check_bounds(tested, X, centers)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lowest(dtype, always):
    """Small integers, where float64 is exact, and every centre four times."""
    rng = np.random.default_rng(2)
    X = rng.integers(-2, 3, (900, 20)).astype(dtype)
    tested = Steps(X, None, 12, Frame(np.zeros(20), 0.125))
    labels = tested.labels.copy()
    for _ in range(4):
        centers = np.tile(rng.integers(-2, 3, (3, 20)), (4, 1)).astype(float)
        labels = check_pass(tested, X, None, centers, labels, exact=True)
        assert labels.max() < 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_numbers_are_never_certain(dtype, always):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 40)).astype(dtype)
    frame = frame_for(Steps, X)
    X[5, 7], X[100, 0], X[200] = np.nan, np.inf, -np.inf
    tested = Steps(X, None, 4, frame)
    centers = rng.normal(size=(4, 40))
    for _ in range(4):
        tested.label_rows(centers)
        centers = centers + 1e-3
        if BYTE_DOTS and tested._followed is not None:
            assert (tested._known.above.ravel()[[5, 100, 200]] == np.inf).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_as_wide(dtype):
    """Rows that move are listed in the same order: their sums are rounded alike."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(3000, 600)).astype(dtype)
    tested, twin = (one(X, None, 5, frame_for(one, X)) for one in (Steps, Wide))
    followed = []
    for centers in drifting(rng, X, 5, 12, 1e-2):
        statistics, expected = tested.assign(centers), twin.assign(centers)
        np.testing.assert_array_equal(tested.labels, twin.labels)
        np.testing.assert_array_equal(statistics.sums, expected.sums)
        assert statistics.n_changed == expected.n_changed
        followed.append(tested._left.sum() if tested._followed is not None else len(X))
    if BYTE_DOTS:  # it begins by itself, and compares few rows then
        assert 0 < followed[-1] < 0.5 * len(X)


def test_without_byte_products_it_is_wide(monkeypatch):
    monkeypatch.setattr(steps, "BYTE_DOTS", False)
    X = np.random.default_rng(5).normal(size=(500, 600))
    assert not Steps(X, None, 3, frame_for(Steps, X))._may_follow
    assert not pays(50_000, 784, 10, 4)


def test_is_chosen_where_it_takes_little_memory():
    expected = Steps if BYTE_DOTS else Wide
    for dtype in DTYPES:
        assert choose("auto", 50_000, 784, 10, dtype, sparse=False) is expected
        assert choose("auto", 1000, 784, 10, dtype, sparse=False) is Wide  # stays in a cache
    assert choose("auto", 500_000, 96, 10, np.float64, sparse=False) is expected
    assert choose("auto", 500_000, 96, 10, np.float32, sparse=False) is Wide


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_kept_is_less_than_a_quarter_of_the_rows(dtype):
    X = np.random.default_rng(6).normal(size=(2000, 784)).astype(dtype)
    tested = Steps(X, None, 10, frame_for(Steps, X))
    assert tested._may_follow == BYTE_DOTS
    assert sum(array.nbytes for array in tested._unknown()) < X.nbytes / 4
