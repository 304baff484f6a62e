import math

import numba
import numpy as np
import pytest
import reference
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba.core.errors import TypingError

from fastem.kernels import cluster_medians, parallel
from fastem.kernels.columns.magnitude import largest_magnitude
from fastem.kernels.medians.selection import select, weighted_median

DTYPES = [np.float32, np.float64]


def values_of(kind, size, rng):
    return {
        "normal": rng.normal(size=size),
        "integers": rng.integers(-3, 4, size=size) * 1.0,
        "mostly zero": rng.normal(size=size) * (rng.uniform(size=size) < 0.3),
        "constant": np.full(size, 2.5),
        "rising": np.arange(math.prod(np.atleast_1d(size)), dtype=float).reshape(size),
        "falling": -np.arange(math.prod(np.atleast_1d(size)), dtype=float).reshape(size),
        "far apart": rng.normal(size=size) * 10.0 ** rng.integers(-30, 30, size=size),
        "infinite": np.where(rng.uniform(size=size) < 0.3, -np.inf, rng.normal(size=size)),
    }[kind]


KINDS = [
    "normal", "integers", "mostly zero", "constant", "rising", "falling", "far apart", "infinite",
]  # fmt: skip


# Selection


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_select(size, kind, dtype):
    rng = np.random.default_rng(size)
    values = values_of(kind, size, rng).astype(dtype)
    expected = np.sort(values)
    for rank in {0, size // 3, size // 2, size - 1}:
        guarded = Guarded(np.concatenate([[7], values, [7]]).astype(dtype))
        assert select(guarded.array, 1, size + 1, rank + 1) == expected[rank]
        assert guarded.intact()
        assert guarded.array[0] == guarded.array[-1] == 7
        inside = guarded.array[1:-1]
        np.testing.assert_array_equal(np.sort(inside), expected)
        assert (inside[:rank] <= expected[rank]).all()
        assert inside[rank] == expected[rank]
        assert (inside[rank:] >= expected[rank]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 600])
@pytest.mark.parametrize("weighting", ["ones", "tenths", "integers", "any", "one heavy"])
def test_weighted_median(size, kind, dtype, weighting):
    rng = np.random.default_rng(size)
    values = values_of(kind, size, rng).astype(dtype)
    weights = {
        "ones": np.ones(size),
        "tenths": np.full(size, 0.1),
        "integers": rng.integers(1, 5, size=size) * 1.0,
        "any": rng.uniform(size=size),
        "one heavy": np.where(np.arange(size) == size // 2, 1e6, 1e-3),
    }[weighting]
    expected = reference.weighted_median(values.astype(float), weights)
    if weighting in ("ones", "tenths"):
        assert expected == np.median(values.astype(float))
    assert weighted_median(values.copy(), weights.copy(), size) == expected


# Medians of clusters


@pytest.mark.parametrize("weighting", ["none", "integers", "any"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_clusters"),
    [
        (1, 1, 1), (2, 3, 2), (3, 1, 7), (7, 2, 3), (63, 7, 2), (64, 9, 63), (65, 17, 3),
        (129, 129, 2), (700, 3, 1), (1024, 8, 2), (5000, 5, 7), (3000, 1, 65), (513, 2, 1),
    ],
)  # fmt: skip
def test_cluster_medians(n_rows, n_features, n_clusters, kind, dtype, weighting):
    rng = np.random.default_rng(n_rows)
    X = values_of(kind, (n_rows, n_features), rng).astype(dtype)
    labels = rng.integers(n_clusters, size=n_rows)
    sample_weight = None
    if weighting != "none":
        # Of most rows: some clusters may have none.
        sample_weight = rng.integers(0, 4, size=n_rows) * 1.0
        if weighting == "any":
            sample_weight *= rng.uniform(size=n_rows)
    medians = cluster_medians(X, labels, n_clusters, sample_weight)
    assert medians.dtype == dtype
    np.testing.assert_array_equal(
        medians, reference.cluster_medians(X, labels, n_clusters, sample_weight)
    )
    if weighting == "integers":
        repeats = sample_weight.astype(int)
        np.testing.assert_array_equal(
            medians, cluster_medians(X.repeat(repeats, axis=0), labels.repeat(repeats), n_clusters)
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_that_misses_the_median(dtype):
    """The rows that the bracket is taken from lie far from all others."""
    n_rows = 1600
    X = np.random.default_rng(0).normal(size=(n_rows, 3)).astype(dtype)
    X[:: n_rows // 100] = 1e6
    X[n_rows // 100 * np.arange(50), 1] = -1e6
    X[: n_rows // 100 * 128 : n_rows // 128] += dtype(1e6)
    labels = np.zeros(n_rows, int)
    np.testing.assert_array_equal(
        cluster_medians(X, labels, 1), reference.cluster_medians(X, labels, 1)
    )


def test_a_crowded_bracket():
    """More values inside than there is room for."""
    rng = np.random.default_rng(0)
    n_rows = 6000
    X = rng.normal(size=(n_rows, 2))
    step = n_rows // 375
    X[np.arange(n_rows) % step != 0] *= 1e-3
    labels = np.zeros(n_rows, int)
    np.testing.assert_array_equal(
        cluster_medians(X, labels, 1), reference.cluster_medians(X, labels, 1)
    )


def test_infinity_and_nan():
    rng = np.random.default_rng(0)
    for n_rows in (50, 2000):
        X = rng.normal(size=(n_rows, 5))
        X[rng.uniform(size=n_rows) < 0.6, 0] = np.inf
        X[rng.uniform(size=n_rows) < 0.6, 1] = -np.inf
        X[n_rows // 2, 2] = np.nan
        X[:, 3] = np.nan
        labels = np.arange(n_rows) % 2
        medians = cluster_medians(X, labels, 2)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(medians, reference.cluster_medians(X, labels, 2))
        assert np.isinf(medians[:, :2]).all()
        assert np.isnan(medians[:, 2:4]).sum() == 3


@numba.njit
def _compiled_medians(X, labels, weights):
    return cluster_medians(X, labels, 2, weights)


@pytest.mark.parametrize(
    "medians",
    [
        lambda X, labels, weights: cluster_medians(X, labels, 2, weights),
        lambda X, labels, weights: parallel.cluster_medians(X, labels, 2, weights),
        _compiled_medians,
    ],
)
def test_a_row_without_weight_has_no_influence(medians):
    X = np.array([[1.0, 5.0], [np.nan, np.inf], [2.0, 7.0], [np.nan, 1.0], [4.0, np.nan]])
    labels, weights = np.array([0, 0, 0, 1, 1]), np.array([1.0, 0.0, 1.0, 0.0, 2.0])
    np.testing.assert_array_equal(medians(X, labels, weights), [[1.5, 6.0], [4.0, np.nan]])
    weights[4] = 0.0
    np.testing.assert_array_equal(medians(X, labels, weights), [[1.5, 6.0], [np.nan, np.nan]])


def test_input_of_all_kinds():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, size=(60, 3))
    labels = rng.integers(4, size=60)
    expected = reference.cluster_medians(X.astype(float), labels, 4)
    for convert in (
        np.asfortranarray,
        np.ndarray.tolist,
        lambda X: X.astype(np.uint8),
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    ):
        np.testing.assert_array_equal(cluster_medians(convert(X), labels, 4), expected)
    for dtype in (np.int8, np.uint64, np.int32):
        np.testing.assert_array_equal(cluster_medians(X, labels.astype(dtype), 4), expected)
    frozen = X.astype(float)
    frozen.flags.writeable = labels.flags.writeable = False
    np.testing.assert_array_equal(cluster_medians(frozen, labels, 4), expected)
    assert np.isnan(cluster_medians(np.empty((0, 2)), np.empty(0, int), 3)).all()


def test_compiled_code_may_call_it():
    @numba.njit
    def both(X, labels, sample_weight):
        unweighted = cluster_medians(X, labels, 3)
        return unweighted, cluster_medians(X, labels, 3, sample_weight)

    rng = np.random.default_rng(0)
    labels, sample_weight = rng.integers(3, size=900), rng.uniform(size=900)
    for X in (
        rng.normal(size=(900, 4)),
        rng.normal(size=(900, 4)).astype(np.float32),
        np.asfortranarray(rng.integers(9, size=(900, 4))),
    ):
        unweighted, weighted = both(X, labels, sample_weight)
        np.testing.assert_array_equal(unweighted, cluster_medians(X, labels, 3))
        np.testing.assert_array_equal(weighted, cluster_medians(X, labels, 3, sample_weight))
        assert unweighted.dtype == (X.dtype if X.dtype == np.float32 else np.float64)


GOOD = np.ones((4, 2)), np.zeros(4, int), 2


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, np.ones(4), "X must be a 2-D array"),
        (0, np.ones((4, 2), complex), "X must hold real numbers"),
        (0, np.ones((3, 2)), "the same length"),
        (1, np.zeros(4), "labels must be a 1-D array of integers"),
        (1, np.zeros((4, 1), int), "labels must be a 1-D array of integers"),
        (1, np.array([0, 1, 2, 0]), "labels must be from 0 to n_clusters - 1"),
        (1, np.array([0, 1, -1, 0]), "labels must be from 0 to n_clusters - 1"),
        (1, np.array([0, 1, 2**32, 0]), "labels must be from 0 to n_clusters - 1"),
        (2, 0, "n_clusters must be positive"),
        (3, np.ones(3), "the same length"),
        (3, np.ones((4, 1)), "sample_weight must be a 1-D array"),
        (3, np.array(["a"] * 4), "sample_weight must be a 1-D array"),
        (3, np.array([1, 1, -1, 1.0]), "sample_weight must be finite and not negative"),
        (3, np.array([1, 1, np.nan, 1.0]), "sample_weight must be finite and not negative"),
        (3, np.array([1, 1, np.inf, 1.0]), "sample_weight must be finite and not negative"),
    ],
)
def test_refusals(position, value, message):
    arguments = [*GOOD, None]
    arguments[position] = value
    with pytest.raises(ValueError, match=message):
        cluster_medians(*arguments)


@pytest.mark.parametrize("function", [cluster_medians, parallel.cluster_medians])
def test_numbers_that_are_no_integers(function):
    X, labels, _ = GOOD
    for wrong, kind in ((2.5, "float"), (2.0, "float"), (None, "NoneType"), ("2", "str")):
        with pytest.raises(TypeError, match=f"n_clusters must be an instance of int, not {kind}"):
            function(X, labels, wrong)
    with pytest.raises(ValueError, match="labels must be a 1-D array of integers"):
        function(X, labels + 0.5, 2)
    right = np.array([[1.0, 1.0], [np.nan, np.nan]])
    for n_clusters in (2, np.int32(2), np.uint8(2)):
        np.testing.assert_array_equal(function(X, labels, n_clusters), right)

    @numba.njit
    def compiled(X, labels, n_clusters):
        return function(X, labels, n_clusters)

    np.testing.assert_array_equal(compiled(X, labels, 2), right)
    with pytest.raises(TypingError, match="takes an integer for n_clusters, not float64"):
        compiled(X, labels, 2.5)
    with pytest.raises(TypingError, match=r"labels that are integers, not .*float64"):
        compiled(X, labels + 0.5, 2)


def test_compiled_refusals():
    @numba.njit
    def medians(X, labels):
        return cluster_medians(X, labels, 2)

    with pytest.raises(ValueError, match="labels must be from 0"):
        medians(np.ones((3, 2)), np.array([0, 1, 2]))
    with pytest.raises(TypingError, match="takes a 2-D array"):
        medians(np.ones(3), np.array([0, 1, 2]))
    with pytest.raises(TypingError, match="labels that are integers"):
        medians(np.ones((3, 2)), np.ones(3))


@settings(deadline=None, max_examples=80)
@given(st.data(), st.integers(1, 90), st.integers(1, 4), st.integers(1, 4), st.sampled_from(DTYPES))
def test_any_rows(data, n_rows, n_features, n_clusters, dtype):
    elements = st.floats(-(2.0**100), 2.0**100, width=32)
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=elements))
    labels = data.draw(arrays(np.int64, n_rows, elements=st.integers(0, n_clusters - 1)))
    np.testing.assert_array_equal(
        cluster_medians(X, labels, n_clusters), reference.cluster_medians(X, labels, n_clusters)
    )
    weights = data.draw(arrays(np.float64, n_rows, elements=st.integers(0, 3).map(float)))
    np.testing.assert_allclose(
        cluster_medians(X, labels, n_clusters, weights),
        reference.cluster_medians(X, labels, n_clusters, weights),
        rtol=2**-23,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_largest_magnitude(dtype):
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (3, 2), (7, 1), (100, 11), (3000, 101)]:
        X = Guarded(rng.normal(size=shape).astype(dtype)).array
        assert largest_magnitude(X) == np.abs(X).max()
        X[shape[0] // 2, -1] = -9
        assert largest_magnitude(X) == 9
        X[-1, -1] = 11
        assert largest_magnitude(X) == 11
