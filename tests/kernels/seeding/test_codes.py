"""The coarse copy of rows: what it stands for, and the bound that it gives."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import squared_distances

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.seeding.codes import MOST_FEATURES, code_points, code_rows
from fastem.kernels.seeding.gains import code_products, gain_terms, possible_gains
from fastem.kernels.vectors.machine import TILE

SHAPES = [(1, 1), (2, 3), (63, 2), (64, 16), (65, 17), (130, 33), (7, 130)]


@kernel
def _screen(rows, points, scale, origin, closest, weights, codes, steps, norms, lanes, gains):
    """As a pass of seeding: the lanes of each (tile, point) that may be nearer; the error."""
    error = code_points(points, scale, origin, codes, steps, norms)
    packed = codes.view(np.int32)
    products = np.empty(len(codes) * TILE, np.int32)
    terms, tile_weights = np.empty(4 * TILE, np.float32), np.empty(TILE, np.float32)
    for tile in range(len(rows.steps)):
        code_products(rows.codes, tile, packed, products)
        step = np.float64(rows.steps[tile])
        gain_terms(rows.norms, closest, tile * TILE, step, rows.errors[tile] + error, terms)
        tile_weights[:] = weights[tile * TILE : (tile + 1) * TILE]
        for i in range(len(points)):
            lanes[tile, i], least, most = possible_gains(
                products, i * TILE, terms, tile_weights, 2 * step * steps[i], norms[i]
            )
            gains[0, i] += least
            gains[1, i] += most
    return error


class Screened(NamedTuple):
    nearer: np.ndarray  # whether each row may be nearer each point than ``closest``
    gains: np.ndarray  # bounds on the weighted sums of what they gain
    points: np.ndarray  # what the points' codes stand for
    error: float


def screened(X, points, scale, origin, closest, sample_weight=1.0):
    rows = code_rows(X, scale, origin)
    n_points, n_features = points.shape
    codes = np.zeros((n_points + n_points % 2, n_features + n_features % 2), np.int16)
    steps, norms = np.empty(n_points), np.empty(n_points)
    padded, weights = np.zeros((2, len(rows.norms)))
    padded[: len(X)] = closest
    weights[: len(X)] = sample_weight
    lanes, gains = np.empty((len(rows.steps), n_points), np.uint64), np.zeros((2, n_points))
    error = _screen(rows, points, scale, origin, padded, weights, codes, steps, norms, lanes, gains)
    bits = np.unpackbits(lanes.view(np.uint8).reshape(*lanes.shape, 8), axis=2, bitorder="little")
    nearer = bits.transpose(0, 2, 1).reshape(-1, n_points)[: len(X)].astype(bool)
    return Screened(nearer, gains, codes[:n_points, :n_features] * steps[:, np.newaxis], error)


def decoded(rows, n_rows, n_features):
    codes = rows.codes.transpose(0, 2, 1, 3).reshape(len(rows.norms), -1)
    assert not codes[:, n_features:].any()
    codes = codes[:n_rows, :n_features]
    return codes, codes * rows.steps.astype(np.float64).repeat(TILE)[:n_rows, np.newaxis]


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_of_rows(shape):
    rng = np.random.default_rng(0)
    X = 100 + rng.normal(size=shape)
    origin = 50 + rng.normal(size=shape[1])
    rows = code_rows(X, 0.5, origin)
    codes, coded = decoded(rows, *shape)
    left = X * 0.5 - origin - coded
    steps = rows.steps.repeat(TILE)[: len(X)]
    assert (np.abs(left) <= 0.5001 * steps[:, np.newaxis]).all()
    assert (np.sqrt((left**2).sum(axis=1)) <= rows.errors.repeat(TILE)[: len(X)]).all()
    assert np.abs(codes).max() == 127
    np.testing.assert_array_equal(rows.norms[: len(X)], (codes.astype(int) ** 2).sum(axis=1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_points", [1, 2, 3, 7])
def test_codes_of_points(n_points, shape):
    rng = np.random.default_rng(0)
    X, points = rng.normal(size=shape), rng.normal(size=(n_points, shape[1]))
    origin = rng.normal(size=shape[1])
    result = screened(X, points, 2.0, origin, np.ones(len(X)))
    left = points * 2.0 - origin - result.points
    norms = np.sqrt((left**2).sum(axis=1))
    assert norms.max() <= result.error <= norms.max() * 1.001 + 1e-15
    # 16 bits are finer than the rows' 8.
    assert result.error < 1e-3 * np.sqrt((result.points**2).sum(axis=1)).max()


def check_bounds(X, points, scale, origin, closest, sample_weight=1.0):
    """No row nearer a point is ruled out, and the gains lie within their bounds."""
    result = screened(X, points, scale, origin, closest, sample_weight)
    saved = closest[:, np.newaxis] - squared_distances(X * scale, points * scale)
    assert result.nearer[saved > 0].all()
    gains = np.broadcast_to(sample_weight, len(X)) @ np.maximum(saved, 0)
    assert (result.gains[0] <= gains).all()
    assert (result.gains[1] >= gains).all()
    return result


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slack", [-1e-9, 1e-12, 1e-9, 1e-6])
def test_no_row_that_is_nearer_is_ruled_out(slack, shape):
    """Each row's closest distance is that from one of the points, give or take very little."""
    rng = np.random.default_rng(0)
    X, points = rng.normal(size=shape), rng.normal(size=(5, shape[1]))
    for point in range(5):
        closest = squared_distances(X, points)[:, point] * (1 + slack)
        check_bounds(X, points, 1.0, X.mean(axis=0), closest)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bounds_hold_for_any_rows(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_features = rng.integers(1, 200), rng.integers(1, 40)
    X = rng.normal(size=(n_rows, n_features)) * 10.0 ** rng.integers(-20, 20)
    X *= rng.choice([0.0, 1.0, 1e-3, 1e6], size=n_features)
    X += rng.choice([0.0, 1.0, 1e6]) * np.abs(X).max() * rng.normal(size=n_features)
    X[rng.uniform(size=n_rows) < 0.1] *= rng.choice([0.0, 1e-30, 1e10])
    points = X[rng.integers(n_rows, size=rng.integers(1, 9))]
    scale = 2.0 ** -np.frexp(np.abs(X - X.mean(axis=0)).mean() + 1e-100)[1]
    factor = 10.0 ** rng.uniform(-3, 3, size=n_rows)
    closest = squared_distances(X * scale, X[:1] * scale)[:, 0] * factor
    sample_weight = rng.choice([0.0, 1.0, 1e-9, 1e9], size=n_rows) * rng.uniform(size=n_rows)
    for weights in (1.0, sample_weight):
        check_bounds(X, points, scale, X.mean(axis=0) * scale, closest, weights)


@pytest.mark.parametrize("n_features", [2, 16, 100])
def test_bounds_are_close(n_features):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(6400, n_features))
    seeds, points = X[:100], X[100:104]
    closest = squared_distances(X, seeds).min(axis=1)
    share = (squared_distances(X, points) < closest[:, np.newaxis]).mean()
    result = check_bounds(X, points, 1.0, X.mean(axis=0), closest)
    assert result.nearer.mean() < 1.5 * share + 0.02
    assert (result.gains[0] > 0.2 * result.gains[1]).all()


def test_rows_of_equal_values():
    rows = code_rows(np.full((70, 5), 3.0), 1.0, np.full(5, 3.0))
    assert not rows.codes.any()
    assert not rows.errors.any()


def test_too_many_features_stay_uncoded():
    """Else the sums of products would overflow."""
    most = MOST_FEATURES
    X = np.ones((2, most))
    X[1] = -1.0
    rows = code_rows(X, 1.0, np.zeros(most))
    assert list(rows.norms[:2]) == [most * 127**2] * 2
    assert len(code_rows(np.ones((1, most + 1)), 1.0, np.zeros(most + 1)).steps) == 0
    result = screened(X, X, 1.0, np.zeros(most), np.array([1.0, 1.0]))
    np.testing.assert_array_equal(result.nearer, np.eye(2, dtype=bool))
