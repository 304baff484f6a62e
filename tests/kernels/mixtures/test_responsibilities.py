import numba
import numpy as np
import pytest
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit
from numba.core.errors import TypingError
from scipy.special import log_softmax, logsumexp, softmax

from fastem.kernels import normalize_responsibilities
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    choose_tile,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import TILE

DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (2, 3), (63, 2), (64, 7), (65, 1), (129, 65), (700, 17), (3, 130)]


def tolerance(dtype):
    return 1e-13 if dtype is np.float64 else 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, -1e6, 1e5])
def test_against_scipy(shape, dtype, offset):
    rng = np.random.default_rng(shape[0])
    log_joint = (30 * rng.normal(size=shape) + offset).astype(dtype)
    log_density, responsibilities = normalize_responsibilities(log_joint)
    exact = log_joint.astype(float)
    assert log_density.dtype == responsibilities.dtype == dtype
    rtol = tolerance(dtype)
    np.testing.assert_allclose(log_density, logsumexp(exact, axis=1), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(responsibilities, softmax(exact, axis=1), rtol=rtol, atol=1e-37)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(dtype):
    inf, nan, huge = np.inf, np.nan, np.finfo(dtype).max / 4
    log_joint = np.array(
        [[-inf, -inf, -inf], [-inf, 3, -inf], [-inf, 2, 2], [-huge, -huge, -huge], [huge, 0, huge],
         [0, -huge, -inf], [nan, 0, 1], [inf, 0, 1], [0, 1, nan], [1, 2, 3]],
        dtype,
    )  # fmt: skip
    log_density, responsibilities = normalize_responsibilities(log_joint)
    np.testing.assert_allclose(
        log_density[:6], [-inf, 3, 2 + np.log(2), -huge, huge, 0], rtol=tolerance(dtype)
    )
    third, half = 1 / 3, 1 / 2
    np.testing.assert_allclose(
        responsibilities[:6],
        [[0, 0, 0], [0, 1, 0], [0, half, half], [third] * 3, [half, 0, half], [1, 0, 0]],
        rtol=tolerance(dtype),
    )
    assert np.isnan(log_density[6:9]).all()
    assert np.isnan(responsibilities[6:9]).all()
    assert np.isfinite(log_density[9])


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (5, 4), elements=st.floats(-1e7, 1e7, width=32)))
def test_any_finite_row_sums_to_one(log_joint):
    log_density, responsibilities = normalize_responsibilities(log_joint)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(log_density, logsumexp(log_joint, axis=1), rtol=1e-14, atol=1e-14)
    likely = responsibilities > 1e-300
    expected = log_softmax(log_joint, axis=1)[likely]
    np.testing.assert_allclose(np.log(responsibilities[likely]), expected, rtol=1e-9, atol=1e-9)


def test_any_layout_and_number_of_threads():
    log_joint = np.random.default_rng(0).normal(size=(40_000, 5))
    expected = normalize_responsibilities(log_joint)
    for given_ in (np.asfortranarray(log_joint), np.repeat(log_joint, 2, axis=1)[:, ::2]):
        for a, b in zip(normalize_responsibilities(given_), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    try:
        numba.set_num_threads(1)
        for a, b in zip(normalize_responsibilities(log_joint), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_in_compiled_code(dtype):
    @njit
    def best(log_joint):
        log_density, responsibilities = normalize_responsibilities(log_joint)
        return log_density, responsibilities.max()

    log_joint = np.random.default_rng(0).normal(size=(70, 3), scale=3).astype(dtype)
    log_density, greatest = best(log_joint)
    expected = normalize_responsibilities(log_joint)
    assert log_density.dtype == expected[0].dtype
    np.testing.assert_array_equal(log_density, expected[0])
    assert greatest == expected[1].max()


def test_bad_input():
    with pytest.raises(ValueError, match="2-D array"):
        normalize_responsibilities(np.zeros(3))
    with pytest.raises(ValueError, match="real numbers"):
        normalize_responsibilities(np.zeros((2, 2), complex))
    with pytest.raises(ValueError, match="at least one component"):
        normalize_responsibilities(np.zeros((2, 0)))

    @njit
    def call(log_joint):
        return normalize_responsibilities(log_joint)

    with pytest.raises(TypingError, match="2-D array"):
        call(np.zeros(3))
    with pytest.raises(ValueError, match="at least one component"):
        call(np.zeros((2, 0)))


def test_no_rows():
    log_density, responsibilities = normalize_responsibilities(np.zeros((0, 3)))
    assert log_density.shape == (0,)
    assert responsibilities.shape == (0, 3)


@kernel
def normalize_all(log_joint, n_components, weights, hard, density):
    normalize_tile(log_joint, n_components, weights, hard, density)
    likelihood = log_likelihood(weights, density, (weights == 1).all())
    log_densities(density)
    return likelihood + last_likelihood(density)


@kernel
def likelihood_of_tiles(log_joint, n_components, weights, density):
    total = 0.0
    for t in range(len(log_joint)):
        normalize_tile(log_joint[t], n_components, weights[t], False, density)
        total += log_likelihood(weights[t], density, (weights[t] == 1).all())
    return total + last_likelihood(density)


@kernel
def normalize_listed(log_joint, components, n_listed, weights, hard, density):
    normalize_tile(log_joint, n_listed, weights, hard, density, components)
    log_densities(density)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("listed", [None, [0, 1, 2, 3, 4], [3, 1], [2]])
def test_tile(dtype, hard, listed):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, TILE)).astype(dtype)
    values[1] = values[3]  # equally probable
    values[:, 7] = -np.inf
    weights = Guarded(rng.integers(0, 3, TILE).astype(dtype))
    log_joint, log_density = Guarded(values), Guarded(np.ones(DENSITY, dtype))
    flat = log_joint.array.reshape(-1)
    if listed is None:
        normalize_all(flat, 5, weights.array, hard, log_density.array)
        listed = list(range(5))
    else:
        order = np.array([*listed, 99])
        normalize_listed(flat, order, len(listed), weights.array, hard, log_density.array)
    assert log_joint.intact()
    assert log_density.intact()
    considered = values[listed].astype(float)
    possible = np.arange(TILE) != 7
    expected = np.full(considered.shape, 0.0)
    density = np.full(TILE, -np.inf)
    if hard:
        expected[considered.argmax(axis=0), np.arange(TILE)] = 1
        expected[:, 7] = 0
        density = considered.max(axis=0)
    else:
        expected[:, possible] = softmax(considered[:, possible], axis=0)
        density[possible] = logsumexp(considered[:, possible], axis=0)
    rtol = tolerance(dtype)
    np.testing.assert_allclose(log_joint.array[listed], expected * weights.array, rtol=rtol)
    np.testing.assert_allclose(log_density.array[:TILE], density, rtol=rtol, atol=rtol)
    others = np.setdiff1d(np.arange(5), listed)
    np.testing.assert_array_equal(log_joint.array[others], values[others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weights", ["ones", "ones and zeros", "any"])
@pytest.mark.parametrize("n_components", [1, 3, 3000])
def test_log_likelihood_of_a_tile(n_components, weights, hard, dtype):
    rng = np.random.default_rng(0)
    values = rng.normal(scale=0.01, size=(n_components, TILE)) + 100 * rng.normal(size=TILE)
    values = values.astype(dtype)
    weight = rng.uniform(0.5, 2, TILE) if weights == "any" else np.ones(TILE)
    weight = weight.astype(dtype)
    if weights != "ones":
        weight[::5] = 0
        values[:, 5], values[:, 10], values[:, 15] = -np.inf, np.nan, np.inf  # of no weight
    density = np.ones(DENSITY, dtype)
    found = normalize_all(values.flatten(), n_components, weight, hard, density)
    counted = weight > 0
    exact = values[:, counted].astype(float)
    logs = exact.max(axis=0) if hard else logsumexp(exact, axis=0)
    expected = (weight[counted] * logs).sum()
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=100 * tolerance(dtype))
    values[:, 1] = -np.inf
    assert normalize_all(values.flatten(), n_components, weight, hard, density) == -np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_components", [1, 3, 200])
def test_log_likelihood_of_many_tiles(n_components, dtype):
    """The product of all densities would overflow; among the tiles are some of other weights."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, n_components, TILE)) + rng.normal(size=(40, 1, TILE))
    values = values.astype(dtype)
    weights = np.ones((40, TILE), dtype)
    weights[5], weights[20, :30] = 0.25, 0.0
    exact = (weights * logsumexp(values.astype(float), axis=1)).sum()

    def found(values):
        density = np.ones(DENSITY, dtype)
        return likelihood_of_tiles(values.reshape(40, -1).copy(), n_components, weights, density)

    np.testing.assert_allclose(found(values), exact, rtol=tolerance(dtype))
    for wrong in (-np.inf, np.nan):
        values[7, :, 3] = wrong
        np.testing.assert_array_equal(found(values), wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_likelihood_of_a_tile_whose_product_overflows(dtype):
    """However many lanes there are: as of many components, where vectors are short."""
    density = np.ones(DENSITY, dtype)
    density[:TILE] = 0
    density[TILE : 2 * TILE] = np.sqrt(np.finfo(dtype).max)
    exact = np.log(density[TILE : 2 * TILE].astype(float)).sum()
    found = likelihood_of_densities(np.ones(TILE, dtype), density)
    np.testing.assert_allclose(found, 2 * exact, rtol=tolerance(dtype))


@kernel
def likelihood_of_densities(weights, density):
    """Of two equal tiles."""
    first = log_likelihood(weights, density, True)
    return first + log_likelihood(weights, density, True) + last_likelihood(density)


@kernel
def choose(log_joint, n_components, chosen):
    choose_tile(log_joint, n_components, chosen)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_components", [1, 2, 7, 300])
def test_the_first_of_the_most_probable_components_is_chosen(n_components, dtype):
    rng = np.random.default_rng(n_components)
    log_joint = rng.integers(-3, 3, size=(n_components, TILE)).astype(dtype)
    log_joint[:, :9] = -np.inf
    chosen = np.full(TILE, -1, dtype)
    choose(log_joint.ravel(), n_components, chosen)
    np.testing.assert_array_equal(chosen, log_joint.argmax(axis=0))
