"""Passes for one covariance of all components: "tied", "tied_diag" and "tied_spherical"."""

import numpy as np
import pytest
from gaussian_passes import (
    SHAPES,
    assert_close,
    check_evaluation,
    check_statistics,
    expected,
    problem,
)

from fastem.kernels.gaussian import PASSES

TYPES = ["tied", "tied_diag", "tied_spherical"]
DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


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
    """Where the scatter within is a small part of the total, it is summed directly."""
    options = {"distance": distance, "offset": offset}
    for check in (check_statistics, check_evaluation):
        check(covariance_type, (500, 5, 4), dtype, TOLERANCE[dtype], **options)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("condition", [1e4, 1e8, 1e12])
def test_features_that_almost_depend_on_each_other(condition, n_components):
    """The log-densities have the digits that whitening leaves."""
    guarded, parameters = problem("tied", (500, 4, n_components), np.float64)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    shape = rotation * np.geomspace(1, np.sqrt(condition), 4)
    factor = np.linalg.inv(np.linalg.cholesky(shape @ shape.T)).T
    X = guarded.array @ shape.T
    parameters = parameters._replace(means=parameters.means @ shape.T, precisions_cholesky=factor)
    tested = PASSES["tied"](X, None, n_components)
    twin = expected(X, parameters, "tied", None, parameters.means)
    statistics = tested.e_step(parameters)
    np.testing.assert_allclose(statistics.objective, twin[0], rtol=1e-14 * np.sqrt(condition))
    np.testing.assert_allclose(statistics.counts, twin[1], rtol=1e-14 * np.sqrt(condition))
    np.testing.assert_allclose(statistics.scatter, twin[3], rtol=1e-8)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_rows_without_weight_may_be_anywhere(covariance_type):
    guarded, parameters = problem(covariance_type, (300, 3, 2), np.float64)
    X, weights = guarded.array, np.ones(300)
    X[::5], weights[::5] = 1e9, 0.0
    statistics = PASSES[covariance_type](X, weights, 2).e_step(parameters)
    kept = weights > 0
    assert_close(
        statistics,
        expected(X[kept], parameters, covariance_type, None, parameters.means),
        1e-12,
    )


@pytest.mark.parametrize("covariance_type", TYPES)
def test_steps_follow_each_other(covariance_type):
    """What a pass keeps between steps does not spoil the next."""
    guarded, parameters = problem(covariance_type, (300, 3, 4), np.float64)
    tested = PASSES[covariance_type](guarded.array, None, 4)
    for factor in (1.0, 0.5, 1e4, 1.0):
        now = parameters._replace(
            means=parameters.means * factor,
            precisions_cholesky=parameters.precisions_cholesky / factor,
        )
        twin = expected(guarded.array, now, covariance_type, None, now.means)
        assert_close(tested.e_step(now), twin, 1e-12)
