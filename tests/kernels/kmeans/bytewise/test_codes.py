"""Rows and centres in bytes: what the codes stand for, and the bounds on what they leave out."""

import numpy as np
import pytest

from fastem.kernels.kmeans.bytewise.centers import (
    NEVER,
    code_centers,
    code_middles,
    empty_codes,
)
from fastem.kernels.kmeans.bytewise.rows import (
    code_row,
    coded_values,
    measure_row,
    read_row,
    transpose_words,
)
from fastem.kernels.kmeans.bytewise.tiles import BLOCK, GROUP, next_promising
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty

SHAPES = [(1, 1), (2, 3), (3, 4), (7, 33), (64, 130), (129, 66)]


def normal(rng, shape):
    return rng.normal(size=shape)


def log_normal_norms(rng, shape):
    return rng.normal(size=shape) * np.exp(2 * rng.normal(size=(shape[0], 1)))


def one_wide_feature(rng, shape):
    values = rng.normal(size=shape)
    values[:, -1] *= 1e5
    return values


def unlike_scales(rng, shape):
    return rng.normal(size=shape) * np.exp(3 * rng.normal(size=(1, shape[1])))


def tiny_beside_zeros(rng, shape):
    values = 1e-22 * rng.normal(size=shape)
    values[::3] = 0
    return values


def huge(rng, shape):
    return 1e12 * rng.normal(size=shape)


def duplicates(rng, shape):
    return rng.integers(-1, 2, shape) * rng.normal()


KINDS = [
    normal, log_normal_norms, one_wide_feature, unlike_scales, tiny_beside_zeros, huge, duplicates,
]  # fmt: skip


def bytes_of(words):
    """The four bytes of each int32, signed, as a last axis."""
    return np.ascontiguousarray(words).view(np.int8).reshape(*words.shape, 4)


@kernel
def _read_row(X, row, scale, shift, x):
    read_row(X, row, scale, shift, x)


@kernel
def _code_rows(X, centers, shift, steps, rests, codes, measured):
    """Code rows; write each one's greatest magnitude, squared norm and product with a centre."""
    n_values = coded_values(X.shape[1])
    x, n_words = aligned_empty(n_values), n_values // 4
    words = aligned_empty(n_words * LANES).view(np.int32)
    for lane in range(TILE):
        place = lane % LANES
        read_row(X, lane, np.float32(1), shift, x)
        greatest, square, product = measure_row(x, centers, lane % len(centers))
        measured[lane, 0], measured[lane, 1], measured[lane, 2] = greatest, square, product
        steps[lane], rests[lane] = code_row(x, greatest, words, place * n_words)
        if place == LANES - 1:
            transpose_words(words, n_words, lane - place, codes)


def measured_rows(rows, centers):
    """The words, steps and rests of TILE rows, and what ``measure_row`` returns."""
    words = aligned_empty(coded_values(rows.shape[1]) // 4 * TILE).view(np.int32)
    steps, rests = aligned_empty(TILE), aligned_empty(TILE)
    measured = np.empty((TILE, 3), np.float32)
    shift = np.zeros(rows.shape[1], rows.dtype)
    _code_rows(rows, centers, shift, steps, rests, words, measured)
    return words, steps, rests, measured


def coded_rows(rows):
    """The codes (TILE, n_features), steps and rests of TILE rows, and what the kernels take."""
    n_features = rows.shape[1]
    words, steps, rests, _ = measured_rows(rows, rows)
    unsigned = bytes_of(words.reshape(-1, TILE)).view(np.uint8)
    codes = unsigned.transpose(1, 0, 2).reshape(TILE, -1).astype(int) - 128
    assert (codes[:, n_features:] == 0).all()
    return codes[:, :n_features], steps, rests, words


def packed_centers(centers):
    n_clusters, n_features = centers.shape
    negated = np.zeros((n_clusters + 1, n_features), np.float32)
    negated[:-1] = -centers
    half_norms = np.full(n_clusters + 1, np.inf, np.float32)
    half_norms[:-1] = 0.5 * (negated[:-1].astype(float) ** 2).sum(axis=1)
    return negated, half_norms, np.sqrt(2.0 * half_norms[:-1].max())


def coded_centers(centers):
    coded = empty_codes(*centers.shape)
    code_centers(*packed_centers(centers), np.empty(0, np.int32), coded)
    return coded


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_features", [1, 3, 4, 65])
def test_codes_of_rows(kind, n_features):
    rows = kind(np.random.default_rng(0), (TILE, n_features)).astype(np.float32)
    codes, steps, rests, _ = coded_rows(rows)
    greatest = np.abs(rows).max(axis=1)
    np.testing.assert_allclose(steps, np.maximum(greatest / 127, 2.0**-60), rtol=1e-6)
    assert np.abs(codes).max() <= 127
    left = rows - codes * steps[:, np.newaxis].astype(float)
    assert (np.abs(left) <= 0.5001 * steps[:, np.newaxis]).all()
    np.testing.assert_allclose(rests, (left**2).sum(axis=1), rtol=1e-5, atol=1e-40)


@pytest.mark.parametrize("n_features", [1, 31, 32, 33, 100])
def test_what_is_measured_of_rows(n_features):
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(TILE, n_features)).astype(np.float32)
    centers = rng.normal(size=(5, n_features)).astype(np.float32)
    *_, measured = measured_rows(rows, centers)
    np.testing.assert_array_equal(measured[:, 0], np.abs(rows).max(axis=1))
    exact, own = rows.astype(float), centers[np.arange(TILE) % 5].astype(float)
    np.testing.assert_allclose(measured[:, 1], (exact**2).sum(axis=1), rtol=1e-5)
    sizes = np.abs(exact * own).sum(axis=1)
    assert (np.abs(measured[:, 2] - (exact * own).sum(axis=1)) <= 1e-6 * sizes).all()


def test_rows_are_read_as_centers_are_packed():
    rng = np.random.default_rng(7)
    for dtype in (np.float32, np.float64):
        X = rng.normal(size=(3, 5)).astype(dtype)
        shift = rng.normal(size=5).astype(dtype)
        x = np.full(coded_values(5), np.nan, np.float32)
        _read_row(X, 1, dtype(0.25), shift, x)
        np.testing.assert_allclose(x[:5], X[1] * 0.25 + shift, rtol=1e-6, atol=1e-7)
        assert (x[5:] == 0).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_rows_that_are_not_finite_leave_no_finite_rest(value):
    rows = np.ones((TILE, 5), np.float32)
    rows[3, 2] = value
    _, _, rests, _ = coded_rows(rows)
    assert not np.isfinite(rests[3])
    assert np.isfinite(np.delete(rests, 3)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_features", "n_clusters"), SHAPES)
def test_codes_of_centers(kind, n_features, n_clusters):
    centers = kind(np.random.default_rng(1), (n_clusters, n_features)).astype(np.float32)
    coded = coded_centers(centers)
    numbers = coded.numbers[:n_clusters]
    np.testing.assert_array_equal(np.sort(numbers), np.arange(n_clusters))
    assert (np.diff(coded.halves[:n_clusters]) >= 0).all()
    assert (coded.halves[n_clusters:] == NEVER).all()
    codes = -bytes_of(coded.codes).astype(int).transpose(0, 2, 1, 3)
    codes = codes.reshape(len(coded.numbers), -1)
    np.testing.assert_array_equal(coded.starts, 128 * codes.sum(axis=1))
    decoded = codes[:n_clusters, :n_features] * coded.steps[:n_clusters, np.newaxis].astype(float)
    left = centers[numbers] - decoded
    assert (np.abs(left) <= 0.5001 * coded.steps[:n_clusters, np.newaxis]).all()
    rest, length, _ = coded.terms[:n_clusters].T
    assert (rest >= np.sqrt((left**2).sum(axis=1))).all()
    assert (length >= np.linalg.norm(centers[numbers].astype(float), axis=1)).all()
    np.testing.assert_array_equal(coded.limits, coded.terms.reshape(-1, BLOCK, 3).max(axis=1))


@kernel
def _compare(codes, n_quads, coded, rows, least, beyond, own, outer, X, units, lanes, found):
    """All units that are promising, with their scores; how many."""
    n_units = len(coded.limits) * (TILE // GROUP)
    hit = np.empty(1, np.uint64)
    scores = aligned_empty((BLOCK + 1) * GROUP)
    unit, n = 0, 0
    while True:
        unit = next_promising(
            codes, n_quads, coded, coded.limits, rows, unit, n_units, least, beyond, own, outer,
            scores, hit, X, unit % len(X),
        )  # fmt: skip
        if unit == n_units:
            return n
        units[n], lanes[n] = unit, hit[0]
        for i in range(len(scores)):
            found[n, i] = scores[i]
        n += 1
        unit += 1


def compare(rows, coded, own, n_lanes=TILE):
    _, steps, rests, words = coded_rows(rows)
    described = aligned_empty(3 * TILE).reshape(3, TILE)
    norms = np.linalg.norm(rows.astype(float), axis=1)
    described[0] = steps
    described[2] = np.sqrt(rests.astype(float)) * (1 + 1e-5) + norms * 2.0**-20 + 2.0**-60
    described[1] = norms * (1 + 1e-6) + described[2]
    least, beyond = aligned_empty(TILE), aligned_empty(TILE)
    least[:] = np.where(np.arange(TILE) < n_lanes, np.inf, -np.inf)
    beyond[:] = np.inf
    outer = aligned_empty(TILE)
    outer[:] = np.inf
    n_units = len(coded.limits) * (TILE // GROUP)
    units, lanes = np.empty(n_units, np.int64), np.empty(n_units, np.uint64)
    found = np.empty((n_units, (BLOCK + 1) * GROUP), np.float32)
    n = _compare(
        words, coded.codes.shape[1], coded, described, least, beyond, own, outer, rows, units,
        lanes, found,
    )  # fmt: skip
    # (row, place of a centre): the score where the unit was promising to the row, else NaN.
    scores = np.full((TILE, len(coded.numbers)), np.nan)
    lows = np.full((TILE, len(coded.limits)), np.nan)
    for unit, mask, values in zip(units[:n], lanes[:n], found[:n], strict=True):
        block, group = divmod(unit, TILE // GROUP)
        for i in range(GROUP):
            if int(mask) >> i & 1:
                row = group * GROUP + i
                scores[row, block * BLOCK : (block + 1) * BLOCK] = values[i::GROUP][:BLOCK]
                lows[row, block] = values[BLOCK * GROUP + i]
    bounds = (bound.astype(float) for bound in (least, beyond, outer))
    return scores, lows, *bounds, described.astype(float)


def own_blocks(rng, n_blocks):
    """For each row a run of blocks, of any length."""
    first = rng.integers(0, n_blocks, TILE)
    own = aligned_empty(2 * TILE).view(np.int32).reshape(2, TILE)
    own[:] = first, rng.integers(0, n_blocks - first + 1)
    return own


@pytest.mark.parametrize("center_kind", KINDS)
@pytest.mark.parametrize("row_kind", KINDS)
@pytest.mark.parametrize(("n_features", "n_clusters"), SHAPES)
def test_no_nearest_center_is_ruled_out(n_features, n_clusters, row_kind, center_kind):
    rng = np.random.default_rng(2)
    rows = row_kind(rng, (TILE, n_features)).astype(np.float32)
    centers = center_kind(rng, (n_clusters, n_features)).astype(np.float32)
    near = min(n_clusters, 8)
    centers[:near] = rows[:near]
    coded = coded_centers(centers)
    own = own_blocks(rng, len(coded.limits))
    scores, lows, least, beyond, outer, described = compare(rows, coded, own)
    scores, padding = scores[:, :n_clusters], scores[:, n_clusters:]
    numbers = coded.numbers[:n_clusters]
    ordered = centers[numbers].astype(float)
    products = rows.astype(float) @ ordered.T
    true = 0.5 * (ordered**2).sum(axis=1) - products
    assert (least >= true.min(axis=1)).all()
    noted = ~np.isnan(scores)
    assert noted[np.arange(TILE), true.argmin(axis=1)].all()
    # What was passed over is no less than what is said of it.
    assert (np.where(noted, np.inf, true).min(axis=1) >= beyond).all()
    # So are the blocks that aren't a row's own.
    place = np.arange(n_clusters) // BLOCK - own[0][:, np.newaxis]
    others = (place < 0) | (place >= own[1][:, np.newaxis])
    least_other = np.where(others, true, np.inf).min(axis=1)
    assert (least_other >= outer).all()
    # By no more than the bounds are wide, or the padding would count.
    reach = np.abs(described[1:]).sum(axis=0) * coded.limits[:, :2].max() + coded.limits[:, 2].max()
    near = np.isfinite(least_other)
    assert (least_other[near] - outer[near] <= 2.1 * reach[near]).all()
    # Each score noted holds within its bounds, its block's least too, and padding never counts.
    rest, length, slack = coded.terms[:n_clusters].T.astype(float)
    error = np.outer(described[1], rest) + np.outer(described[2], length) + slack
    assert (np.abs(scores - true)[noted] <= error[noted] * (1 + 1e-6)).all()
    for block in range(lows.shape[1]):
        low, of_block = lows[:, block], true[:, block * BLOCK : (block + 1) * BLOCK]
        assert (np.isnan(low) | (low <= of_block.min(axis=1))).all()
    assert (np.isnan(padding) | (padding > 1e35)).all()


@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_features", "n_middles"), SHAPES)
def test_no_member_is_nearer_than_its_middle_tells(n_features, n_middles, kind, spread):
    rng = np.random.default_rng(4)
    rows = kind(rng, (TILE, n_features)).astype(np.float32)
    places = kind(rng, (n_middles, n_features))
    middle = np.append(np.arange(n_middles), rng.integers(n_middles, size=40))
    centers = places[middle] * (1 + spread * rng.normal(size=(len(middle), n_features)))
    centers = centers.astype(np.float32)
    members = np.argsort(middle, kind="stable").astype(np.int32)
    ends = np.append(0, np.cumsum(np.bincount(middle)))
    numbers = rng.integers(1000, size=n_middles).astype(np.int32)
    coded = empty_codes(n_middles, n_features)
    code_middles(*packed_centers(centers), members, ends, numbers, coded)
    np.testing.assert_array_equal(coded.numbers[:n_middles], numbers)
    assert (coded.numbers[n_middles:] == len(centers)).all()
    assert (coded.halves[n_middles:] == NEVER).all()
    np.testing.assert_array_equal(coded.limits, coded.terms.reshape(-1, BLOCK, 3).max(axis=1))
    own = aligned_empty(2 * TILE).view(np.int32).reshape(2, TILE)
    own[:] = 0
    scores, _, least, beyond, _, described = compare(rows, coded, own)
    products = rows.astype(float) @ centers.T.astype(float)
    true = 0.5 * (centers.astype(float) ** 2).sum(axis=1) - products
    noted = ~np.isnan(scores[:, middle])
    rest, length, slack = coded.terms[middle].T.astype(float)
    error = np.outer(described[1], rest) + np.outer(described[2], length) + slack
    assert (np.abs(scores[:, middle] - true)[noted] <= error[noted] * (1 + 1e-6)).all()
    assert (least >= true.min(axis=1)).all()
    assert (np.where(noted, np.inf, true).min(axis=1) >= beyond).all()
    # The bounds are as wide as the middles' members are apart, and a few codes more.
    means = np.array([centers[middle == m].mean(axis=0, dtype=float) for m in range(n_middles)])
    apart = np.linalg.norm(centers - means[middle], axis=1)
    norms = np.linalg.norm(centers.astype(float), axis=1)
    widest = np.zeros(n_middles)
    np.maximum.at(widest, middle, apart + 0.01 * n_features * norms)
    assert (coded.terms[:n_middles, 0] <= 1.01 * widest + 1e-3 * norms.max() + 1e-20).all()


def test_nothing_is_promising_to_lanes_without_rows():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(TILE, 12)).astype(np.float32)
    coded = coded_centers(rng.normal(size=(30, 12)))
    scores, *_ = compare(rows, coded, own_blocks(rng, len(coded.limits)), n_lanes=5)
    noted = ~np.isnan(scores)
    assert noted[:5].any(axis=1).all()
    assert not noted[5:].any()
