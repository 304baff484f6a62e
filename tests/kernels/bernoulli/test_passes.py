import numba
import numpy as np
import pytest
import scipy.sparse as sp
from guards import Guarded
from numba.core.errors import TypingError
from reference import bernoulli_e_step, bernoulli_log_density
from threads import on_threads

import fastem.kernels
from fastem.kernels import parallel
from fastem.kernels.bernoulli import BernoulliComponents, DensePass, SparsePass
from fastem.kernels.bernoulli.bits import first_other, packed_bits, sparse_bits, unpacked_bits

# Rows, features and components: around the lanes of tiles, bytes, groups, batches and chunks.
SHAPES = [
    (1, 1, 1),
    (2, 7, 3),
    (63, 8, 8),
    (64, 9, 9),
    (65, 16, 16),
    (700, 65, 17),
    (5000, 129, 2),
    (9000, 33, 9),
    (1100, 300, 40),
]


def problem(shape, seed=0):
    n_rows, n_features, n_components = shape
    rng = np.random.default_rng(seed)
    X = rng.random((n_rows, n_features)) < rng.random(n_features)
    probabilities = rng.uniform(0.05, 0.95, size=(n_components, n_features))
    weights = rng.dirichlet(np.ones(n_components))
    return X, weights, probabilities


def dense_pass(X, sample_weight, n_components):
    return DensePass(packed_bits(X, 0.0), X.shape[1], sample_weight, n_components)


def sparse_pass(X, sample_weight, n_components):
    return SparsePass(sparse_bits(sp.csr_array(X), 0.0), X.shape[1], sample_weight, n_components)


PASSES = pytest.mark.parametrize("make_pass", [dense_pass, sparse_pass])


def outputs(n_rows, n_components):
    return {
        "log_density": np.empty(n_rows),
        "labels": np.empty(n_rows, np.int64),
        "responsibilities": np.empty((n_rows, n_components)),
        "log_joint": np.empty((n_rows, n_components)),
    }


# A pass over the rows.


@PASSES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics(shape, hard, weighted, make_pass):
    X, weights, probabilities = problem(shape)
    w = np.ones(shape[0])
    if weighted:
        w = np.random.default_rng(1).integers(0, 4, size=shape[0]) / 3 + (shape[0] < 3)
    log_density, responsibilities = bernoulli_e_step(X, weights, probabilities, hard)
    tested = make_pass(X, w if weighted else None, shape[2])
    statistics = tested.e_step(BernoulliComponents.of(weights, probabilities), hard=hard)
    assert statistics.objective == pytest.approx(w @ log_density, rel=1e-12)
    shares = responsibilities * w[:, np.newaxis]
    np.testing.assert_allclose(statistics.counts, shares.sum(axis=0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(statistics.sums, shares.T @ X, rtol=1e-10, atol=1e-12)


@PASSES
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs(shape, make_pass):
    X, weights, probabilities = problem(shape)
    log_density, responsibilities = bernoulli_e_step(X, weights, probabilities)
    log_joint = np.log(weights) + bernoulli_log_density(X, probabilities)
    found = outputs(shape[0], shape[2])
    tested = make_pass(X, None, shape[2])
    tested.evaluate(BernoulliComponents.of(weights, probabilities), **found)
    np.testing.assert_allclose(found["log_density"], log_density, rtol=1e-12)
    np.testing.assert_allclose(found["responsibilities"], responsibilities, rtol=1e-10)
    np.testing.assert_allclose(found["log_joint"], log_joint, rtol=1e-12)
    np.testing.assert_array_equal(found["labels"], log_joint.argmax(axis=1))
    for name, array in outputs(shape[0], shape[2]).items():
        tested.evaluate(BernoulliComponents.of(weights, probabilities), **{name: array})
        np.testing.assert_array_equal(array, found[name])


def test_odds_that_outgrow_the_cache():
    """Batches of CSR rows are larger then."""
    n_rows, n_features, n_components = 2500, 9000, 33
    rng = np.random.default_rng(0)
    X = rng.random((n_rows, n_features)) < 0.01
    probabilities = rng.uniform(0.001, 0.05, size=(n_components, n_features))
    weights = rng.dirichlet(np.ones(n_components))
    log_joint = np.log(weights) + X @ np.log(probabilities).T + ~X @ np.log1p(-probabilities).T
    log_density = np.logaddexp.reduce(log_joint, axis=1)
    shares = np.exp(log_joint - log_density[:, np.newaxis])
    tested = sparse_pass(X, None, n_components)
    statistics = tested.e_step(BernoulliComponents.of(weights, probabilities))
    assert statistics.objective == pytest.approx(log_density.sum(), rel=1e-12)
    np.testing.assert_allclose(statistics.counts, shares.sum(axis=0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(statistics.sums, shares.T @ X, rtol=1e-10, atol=1e-12)


@PASSES
def test_certain_features_and_impossible_rows(make_pass):
    rng = np.random.default_rng(0)
    X = rng.random((300, 20)) < 0.9
    X[:, 3] = True
    X[200:, :4] = [True, False, False, False]
    probabilities = rng.uniform(0.2, 0.8, size=(3, 20))
    probabilities[:, 3] = 1.0
    probabilities[1, [0, 5]] = 1.0
    probabilities[2, [1, 7]] = 0.0
    weights = np.array([0.0, 0.5, 0.5])
    log_density, responsibilities = bernoulli_e_step(X, weights, probabilities)
    impossible = log_density == -np.inf
    assert 100 < impossible.sum() < 300
    found = outputs(300, 3)
    parameters = BernoulliComponents.of(weights, probabilities)
    make_pass(X, None, 3).evaluate(parameters, **found)
    np.testing.assert_allclose(found["log_density"], log_density, rtol=1e-12)
    np.testing.assert_allclose(found["responsibilities"], responsibilities, rtol=1e-12)
    assert not np.isnan(found["log_joint"]).any()
    assert (found["labels"][impossible] == 0).all()
    for hard in (False, True):
        log_density, responsibilities = bernoulli_e_step(X, weights, probabilities, hard)
        statistics = make_pass(X, None, 3).e_step(parameters, hard=hard)
        assert statistics.objective == -np.inf
        np.testing.assert_allclose(statistics.counts, responsibilities.sum(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics.sums, responsibilities.T @ X, rtol=1e-12)
        # Of a row without weight it doesn't matter whether it is possible.
        w = np.where(impossible, 0.0, 1.0)
        statistics = make_pass(X, w, 3).e_step(parameters, hard=hard)
        assert statistics.objective == pytest.approx(w[w > 0] @ log_density[w > 0], rel=1e-12)


@PASSES
def test_bits_do_not_depend_on_the_number_of_threads(make_pass):
    X, weights, probabilities = problem((30_000, 40, 9))
    tested = make_pass(X, np.random.default_rng(0).random(30_000), 9)
    components = BernoulliComponents.of(weights, probabilities)
    found = on_threads((1, 2), lambda: tested.e_step(components))
    assert found[0].objective == found[1].objective
    np.testing.assert_array_equal(found[0].counts, found[1].counts)
    np.testing.assert_array_equal(found[0].sums, found[1].sums)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_out_of_bounds(shape):
    X, weights, probabilities = problem(shape)
    n_rows, n_features, n_components = shape
    rows = sp.csr_array(X)
    for guarded in (
        [Guarded(packed_bits(X, 0.0))],
        [Guarded(rows.indices), Guarded(rows.indptr.astype(np.int64))],
    ):
        w = Guarded(np.ones(n_rows))
        arrays = {name: Guarded(array) for name, array in outputs(n_rows, n_components).items()}
        inputs = tuple(array.array for array in guarded)
        if len(inputs) == 1:
            tested = DensePass(inputs[0], n_features, w.array, n_components)
        else:
            tested = SparsePass(inputs, n_features, w.array, n_components)
        statistics = tested.e_step(BernoulliComponents.of(weights, probabilities))
        assert np.isfinite(statistics.objective)
        assert np.isfinite(statistics.sums).all()
        tested.evaluate(
            BernoulliComponents.of(weights, probabilities),
            **{name: guarded_array.array for name, guarded_array in arrays.items()},
        )
        assert all(np.isfinite(array.array).all() for array in arrays.values())
        assert all(array.intact() for array in (*guarded, w, *arrays.values()))


# Bits.


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int8, np.int64, np.uint16, np.float16, np.float32, np.float64]
)
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_packed_bits(dtype, threshold, order):
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (5, 8), (3, 17), (2000, 300)]:
        X = np.asarray(rng.integers(0, 4, size=shape).astype(dtype), order=order)
        bits = packed_bits(X, threshold)
        assert bits.shape == (shape[0], -(-shape[1] // 8))
        assert bits.flags.c_contiguous
        np.testing.assert_array_equal(unpacked_bits(bits, shape[1]), X > threshold)
        indices, indptr = sparse_bits(sp.csr_array(X.astype(float)), threshold)
        ones = sp.csr_array((np.ones(len(indices)), indices, indptr), shape=shape)
        np.testing.assert_array_equal(ones.toarray(), X > threshold)


def test_sparse_ones_are_not_copied():
    X = sp.csr_array(np.eye(5))
    indices, indptr = sparse_bits(X, 0.0)
    assert indices is X.indices
    assert indptr is X.indptr


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("other", [2, -1, 0.5])
def test_first_other(container, other):
    X = np.zeros((3000, 200))
    X[::2] = 1
    assert first_other(container(X)) is None
    X[2500, 70] = other
    assert first_other(container(X)) == other
    assert first_other(container(X > 0)) is None


# The public function.


@numba.njit
def compiled(X, probabilities):
    return fastem.kernels.bernoulli_log_density(X, probabilities)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_log_density(dtype):
    for shape in SHAPES:
        X, _, probabilities = problem(shape)
        probabilities[0, 0], probabilities[-1, -1] = 0.0, 1.0
        expected = bernoulli_log_density(X, probabilities)
        X = X.astype(dtype)
        for function in (fastem.kernels.bernoulli_log_density, compiled):
            found = function(X, probabilities)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    no_rows = np.empty((0, 3), dtype)
    for function in (fastem.kernels.bernoulli_log_density, compiled):
        assert function(no_rows, np.full((2, 3), 0.5)).shape == (0, 2)


BAD = {
    "X must hold zeros and ones": (np.full((2, 3), 0.5), np.full((2, 3), 0.5)),
    "the same number of features": (np.ones((2, 3)), np.full((2, 4), 0.5)),
    "in the range": (np.ones((2, 3)), np.full((2, 3), 1.5)),
    "range": (np.ones((2, 3)), np.full((2, 3), np.nan)),
    "at least one feature": (np.ones((2, 0)), np.ones((2, 0))),
    "at least one": (np.ones((2, 3)), np.ones((0, 3))),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    for function in (fastem.kernels.bernoulli_log_density, compiled):
        with pytest.raises(ValueError, match=message):
            function(*BAD[message])


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble", ">f4", ">f8"])
@pytest.mark.parametrize("value", [np.nan, 1e-30, 1 - 1e-7, 2])
def test_values_that_are_neither_zero_nor_one(value, dtype):
    X = np.eye(3, dtype=dtype)
    X[2, 1] = value
    for function in (fastem.kernels.bernoulli_log_density, parallel.bernoulli_log_density):
        with pytest.raises(ValueError, match="X must hold zeros and ones only"):
            function(X, np.full((2, 3), 0.5))


def test_arguments_that_are_no_matrices():
    X = np.ones((2, 3))
    for bad in (X[0], X.astype(complex)):
        with pytest.raises(ValueError, match="2-D array of real numbers"):
            fastem.kernels.bernoulli_log_density(bad, X)
        with pytest.raises(TypingError, match="bernoulli_log_density takes"):
            compiled(bad, X)
