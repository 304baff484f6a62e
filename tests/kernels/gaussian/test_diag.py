"""Passes for "diag" and "spherical" covariances, and the kernels beneath them."""

import numba
import numpy as np
import pytest
from gaussian_passes import (
    SHAPES,
    assert_close,
    check_evaluation,
    check_shrinking_variances,
    check_statistics,
    expected,
    problem,
)
from guards import Guarded
from threads import on_threads

from fastem.kernels.gaussian import PASSES
from fastem.kernels.mixtures.products import (
    add_counts,
    add_terms,
    add_terms_and_squares,
    linear_terms,
    pad_components,
    size_of_sums,
    squared_terms,
    sum_tile,
    unpack_sums,
    weighted_sum,
)
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, TILE

TYPES = ["diag", "spherical"]
ALL_BUT_FULL = [*TYPES, "tied", "tied_diag", "tied_spherical"]
DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
SIZES = [1, 2, 3, 7, 63, 64, 65, 129]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_statistics(covariance_type, shape, dtype):
    check_statistics(covariance_type, shape, dtype, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_evaluation(covariance_type, shape, dtype):
    check_evaluation(covariance_type, shape, dtype, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance, offset", [(1.5, 1e4), (30.0, 0.0), (1e3, 0.0), (1e4, 1e5)])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_far_means(covariance_type, distance, offset, dtype):
    """Many standard deviations from zero, or from each other: no digits are lost."""
    options = {"distance": distance, "offset": offset}
    for check in (check_statistics, check_evaluation):
        check(covariance_type, (500, 5, 4), dtype, TOLERANCE[dtype], **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_tight_and_a_wide_component(covariance_type, dtype):
    """What is near for one component is far for the other."""
    guarded, parameters = problem(covariance_type, (400, 3, 2), dtype)
    scales = parameters.precisions_cholesky.copy()
    scales[0] *= 1e5
    parameters = parameters._replace(precisions_cholesky=scales)
    X = guarded.array
    X[:200] = parameters.means[0] + (X[:200] - X[:200].mean(axis=0)) * 1e-5
    tested = PASSES[covariance_type](X, None, 2)
    twin = expected(X, parameters, covariance_type, None, parameters.means)
    statistics = tested.e_step(parameters)
    assert_close(statistics, twin, TOLERANCE[dtype])
    rtol = 100 * TOLERANCE[dtype]
    np.testing.assert_allclose(statistics.scatter, twin[3], rtol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", ALL_BUT_FULL)
def test_variances_that_shrink(covariance_type, dtype):
    """The variances there were say nothing about the digits of the new ones."""
    check_shrinking_variances(covariance_type, dtype, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_rows_beyond_all_components(covariance_type, dtype):
    """Their shares are those of the components, however small the densities."""
    guarded, parameters = problem(covariance_type, (100, 3, 4), dtype)
    X = guarded.array
    X[::7] = 3e3
    check = {"rtol": 1e-4 if dtype == np.float32 else 1e-10}
    tested = PASSES[covariance_type](X, None, 4)
    twin = expected(X, parameters, covariance_type, None, parameters.means)
    statistics = tested.e_step(parameters)
    np.testing.assert_allclose(statistics.objective, twin[0], **check)
    np.testing.assert_allclose(statistics.counts.sum(), 100, rtol=1e-6)
    density, shares = np.empty(100, dtype), np.empty((100, 4), dtype)
    tested.evaluate(parameters, log_density=density, responsibilities=shares)
    assert density.min() < -1e6
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_component_without_weight(covariance_type):
    guarded, parameters = problem(covariance_type, (300, 4, 3), np.float64)
    parameters = parameters._replace(log_weights=np.array([-np.inf, np.log(0.3), np.log(0.7)]))
    statistics = PASSES[covariance_type](guarded.array, None, 3).e_step(parameters)
    assert statistics.counts[0] == 0
    assert not statistics.sums[0].any()
    assert not statistics.scatter[0].any()
    assert np.isfinite(statistics.objective)


@pytest.mark.parametrize("covariance_type", ALL_BUT_FULL)
def test_any_number_of_threads(covariance_type):
    guarded, parameters = problem(covariance_type, (40_000, 3, 3), np.float64)
    weights = np.random.default_rng(0).uniform(size=40_000)

    def run():
        tested = PASSES[covariance_type](guarded.array, weights, 3)
        return tested.e_step(parameters), tested.e_step(parameters, parameters.means + 1)

    results = on_threads((1, numba.get_num_threads()), run)
    for one, more in zip(*results, strict=True):
        for left, right in zip(one, more, strict=True):
            np.testing.assert_array_equal(left, right)
    for statistics, shift in zip(results[0], (0, 1), strict=True):
        centers = parameters.means + shift
        assert_close(
            statistics,
            expected(guarded.array, parameters, covariance_type, weights, centers),
            1e-12,
        )


# The kernels beneath


@kernel
def log_densities(squares, terms, coefficients, offsets, constants, n_components, output):
    if squares:
        squared_terms(
            terms, coefficients.shape[1], coefficients, offsets, constants, n_components, output
        )
    else:
        linear_terms(
            terms, coefficients.shape[1], coefficients, offsets, constants, n_components, output
        )


@kernel
def sums_of_terms(squares, shares, n_components, terms, n_terms, sums, rows):
    if squares:
        add_terms_and_squares(shares, n_components, terms, n_terms, sums, rows, TILE)
    else:
        add_terms(shares, n_components, terms, n_terms, sums, rows, TILE)


@kernel
def counts_of_tile(shares, n_components, counts):
    add_counts(shares, n_components, counts)


@kernel
def sums_of_tiles(weights, values):
    return weighted_sum(weights, values), sum_tile(values, TILE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_terms", SIZES)
def test_products_stay_within_their_arrays(n_terms, dtype):
    rng = np.random.default_rng(n_terms)
    rtol = 1e-4 if dtype == np.float32 else 1e-12
    for k in (1, 2, 3, 4, 5, 7, 16, 17):
        terms = Guarded(rng.normal(size=(n_terms, TILE)).astype(dtype))
        coefficients = rng.normal(size=(k, n_terms)).astype(dtype)
        offsets = rng.normal(size=(k, n_terms)).astype(dtype)
        constants = rng.normal(size=k).astype(dtype)
        packed = [Guarded(pad_components(a)) for a in (coefficients, offsets, constants)]
        scaled = coefficients[:, :, np.newaxis] * terms.array.astype(float)
        for squares in (False, True):
            values = -((scaled + offsets[:, :, np.newaxis]) ** 2) if squares else scaled
            output = Guarded(np.zeros((k, TILE), dtype))
            arrays = [a.array.ravel() if a.array.ndim == 1 else a.array for a in packed]
            log_densities(squares, terms.array.ravel(), *arrays, k, output.array.ravel())
            expected_output = constants[:, np.newaxis] + values.sum(axis=1)
            np.testing.assert_allclose(
                output.array, expected_output, rtol=rtol, atol=n_terms * rtol
            )
            assert output.intact()
        shares = Guarded(rng.uniform(size=(k, TILE)).astype(dtype))
        for squares in (False, True):
            sums = Guarded(np.zeros(size_of_sums(k, n_terms, squares)))
            flat = shares.array.ravel(), k, terms.array.ravel(), n_terms
            for _ in range(2):
                sums_of_terms(squares, *flat, sums.array, np.zeros((3, 7), dtype))
            first, *second = unpack_sums(sums.array, k, n_terms, squares)
            wide = shares.array.astype(float), terms.array.astype(float)
            np.testing.assert_allclose(first, 2 * wide[0] @ wide[1].T, rtol=rtol, atol=64 * rtol)
            for squared in second:
                np.testing.assert_allclose(squared, 2 * wide[0] @ (wide[1] ** 2).T, rtol=rtol)
            assert sums.intact()
        counts = Guarded(np.ones(k + LANES))
        counts_of_tile(shares.array.ravel(), k, counts.array)
        np.testing.assert_allclose(counts.array[:k], 1 + wide[0].sum(axis=1), rtol=rtol)
        assert counts.intact()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_over_a_tile(dtype):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 2, size=TILE).astype(dtype)
    values = Guarded(rng.normal(size=2 * TILE).astype(dtype))
    values.array[:TILE][weights == 0] = -np.inf
    weights = Guarded(weights)
    weighted, total = sums_of_tiles(weights.array, values.array)
    kept = weights.array > 0
    np.testing.assert_allclose(weighted, values.array[:TILE][kept].sum(dtype=float), rtol=1e-6)
    np.testing.assert_allclose(total, values.array[TILE:].sum(dtype=float), rtol=1e-5)
