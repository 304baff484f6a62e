"""Passes over rows with gaps and errors, against twins that take one row at a time."""

import numpy as np
import pytest
from gaussian_passes import problem
from reference import (
    COVARIANCE_TYPES,
    covariance_matrices,
    incomplete_e_step,
    incomplete_statistics,
)
from threads import on_threads

from fastem.kernels.gaussian import PASSES
from fastem.kernels.gaussian.incomplete.passes import IncompletePass
from fastem.kernels.runtime.threads import get_num_threads

SHAPES = [(1, 1, 1), (64, 2, 3), (67, 4, 2), (130, 5, 3), (70, 9, 2)]


def complete(covariance_type, shape, dtype, seed=0):
    if covariance_type != "full":
        return problem(covariance_type, shape, dtype, seed=seed)
    guarded, components = problem("tied", shape, dtype, seed=seed)
    scales = np.random.default_rng(3).uniform(0.5, 2, size=(shape[2], 1, shape[1]))
    factors = components.precisions_cholesky * scales
    return guarded, components._replace(precisions_cholesky=factors)


def incomplete(covariance_type, shape, dtype, share=0.3, seed=0):
    """Rows with gaps, one of them empty, the mixture's parameters, and these for the twin.

    Patterns have few rows.
    """
    guarded, components = complete(covariance_type, shape, dtype, seed)
    rng = np.random.default_rng(seed + 1)
    X = guarded.array
    X[rng.random(X.shape) < share] = np.nan
    if len(X) > 1:
        X[1] = np.nan
        X[2:4] = np.nan_to_num(X[2:4])
    k, d = components.means.shape
    factors = covariance_matrices(components.precisions_cholesky, covariance_type, k, d)
    covariances = np.linalg.inv(factors @ factors.swapaxes(1, 2))
    return guarded, components, (np.exp(components.log_weights), components.means, covariances)


def noise_of(kind, X):
    """Arguments for the pass, and the rows' errors for the twin."""
    n, d = X.shape
    roots = np.random.default_rng(5).normal(size=(n, d, d)) * 0.7
    if kind == "variances":
        own = np.abs(roots[:, 0]).astype(X.dtype)
        own[np.isnan(X)] = np.nan  # nobody knows the error of what was not observed
        errors = np.nan_to_num(own).astype(float)[:, :, np.newaxis] * np.eye(d)
        return {"noise": own}, errors
    if kind == "covariances":
        own = (roots @ roots.swapaxes(1, 2)).astype(X.dtype)
        return {"noise": own}, own.astype(float)
    shared = roots[0] @ roots[0].T
    return {"shared_noise": shared}, np.broadcast_to(shared, (n, d, d))


def check(tested, components, parameters, X, covariance_type, errors=None, tolerance=1e-10):
    rng = np.random.default_rng(2)
    w = rng.integers(0, 3, size=len(X)) + 0.5 * (np.arange(len(X)) == 0)
    other = components.means + rng.normal(size=components.means.shape)
    twins = {hard: incomplete_e_step(X, parameters, errors, hard) for hard in (False, True)}
    for sample_weight in (None, w):
        one = tested(sample_weight)
        for centers, hard in ((None, False), (None, True), (other, False)):
            about = components.means if centers is None else centers
            log_density, shares, rows, spreads = twins[hard]
            if sample_weight is not None:
                shares, log_density = shares * w[:, np.newaxis], log_density * w
            counts, sums, scatter = incomplete_statistics(shares, rows, spreads, about)
            if covariance_type not in ("full", "tied"):
                scatter = np.einsum("kii->ki", scatter)
            if covariance_type.endswith("spherical"):
                scatter = scatter.sum(axis=1)
            if covariance_type.startswith("tied"):
                scatter = scatter.sum(axis=0)
            statistics, observed = one.e_step(components, centers, hard)
            size = len(X) * (1 + np.abs(about).max())
            for ours, twin in zip(
                (*statistics[:4], observed),
                (log_density.sum(), counts, sums, scatter, shares.T @ ~np.isnan(X)),
                strict=True,
            ):
                assert np.shape(ours) == np.shape(twin)
                np.testing.assert_allclose(ours, twin, rtol=tolerance, atol=0.1 * tolerance * size)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_statistics_of_rows_with_gaps(covariance_type, shape, dtype):
    guarded, components, parameters = incomplete(covariance_type, shape, dtype)
    X, k = guarded.array, shape[2]

    def tested(sample_weight):
        return IncompletePass(X, sample_weight, k, covariance_type)

    tolerance = 1e-10 if dtype == np.float64 else 3e-5
    check(tested, components, parameters, X, covariance_type, tolerance=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 3e-5)])
@pytest.mark.parametrize("shape", [(300, 2, 3), (330, 5, 2), (260, 9, 3), (200, 3, 17)])
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_statistics_of_frequent_patterns(covariance_type, shape, dtype, tolerance):
    """Some patterns of many rows, in no order, and some of few."""
    guarded, components, parameters = incomplete(covariance_type, shape, dtype, share=0.0)
    X = guarded.array
    rng = np.random.default_rng(4)
    seen = rng.random((4, shape[1])) < 0.6
    seen[0], seen[1, 0] = True, True
    there = seen[rng.integers(4, size=len(X))]
    there[::20] = rng.random((len(there[::20]), shape[1])) < 0.5
    X[~there] = np.nan

    def tested(sample_weight):
        return IncompletePass(X, sample_weight, shape[2], covariance_type)

    check(tested, components, parameters, X, covariance_type, tolerance=tolerance)
    outputs = {
        "log_density": np.empty(len(X), dtype),
        "labels": np.empty(len(X), np.int64),
        "responsibilities": np.empty((len(X), shape[2]), dtype),
        "log_joint": np.empty((len(X), shape[2]), dtype),
    }
    tested(None).evaluate(components, **outputs)
    log_density, shares, _, _ = incomplete_e_step(X, parameters)
    np.testing.assert_allclose(
        outputs["log_density"], log_density, rtol=tolerance, atol=10 * tolerance
    )
    np.testing.assert_allclose(outputs["responsibilities"], shares, atol=10 * tolerance)
    chosen = shares[np.arange(len(X)), outputs["labels"]]
    np.testing.assert_allclose(chosen, shares.max(axis=1), atol=10 * tolerance)
    np.testing.assert_allclose(
        np.exp(outputs["log_joint"] - outputs["log_density"][:, np.newaxis]),
        shares,
        atol=10 * tolerance,
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["variances", "covariances", "shared"])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_statistics_of_rows_with_errors(covariance_type, kind, dtype):
    guarded, components, parameters = incomplete(covariance_type, (131, 3, 4), dtype)
    X = guarded.array
    noise, errors = noise_of(kind, X)

    def tested(sample_weight):
        return IncompletePass(X, sample_weight, 4, covariance_type, **noise)

    check(tested, components, parameters, X, covariance_type, errors)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", [None, "variances", "covariances", "shared"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_evaluation(covariance_type, kind, dtype):
    guarded, components, parameters = incomplete(covariance_type, (131, 3, 4), dtype)
    X = guarded.array
    noise, errors = ({}, None) if kind is None else noise_of(kind, X)
    log_density, shares, _, _ = incomplete_e_step(X, parameters, errors)
    outputs = {
        "log_density": np.empty(131, dtype),
        "labels": np.empty(131, np.int64),
        "responsibilities": np.empty((131, 4), dtype),
        "log_joint": np.empty((131, 4), dtype),
    }
    tested = IncompletePass(X, None, 4, covariance_type, **noise)
    tested.evaluate(components, **outputs)
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(outputs["log_density"], log_density, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(outputs["responsibilities"], shares, atol=tolerance)
    np.testing.assert_array_equal(outputs["labels"], shares.argmax(axis=1))
    np.testing.assert_allclose(
        np.exp(outputs["log_joint"] - outputs["log_density"][:, np.newaxis]), shares, atol=tolerance
    )
    assert outputs["log_density"][1] == pytest.approx(0.0, abs=tolerance)  # nothing observed
    np.testing.assert_allclose(outputs["responsibilities"][1], parameters[0], atol=tolerance)
    for name, output in outputs.items():
        alone = np.empty_like(output)
        tested.evaluate(components, **{name: alone})
        np.testing.assert_array_equal(alone, output)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_complete_rows_as_by_the_passes_for_these(covariance_type):
    guarded, components = complete(covariance_type, (300, 4, 3), np.float64)
    ours, observed = IncompletePass(guarded.array, None, 3, covariance_type).e_step(components)
    theirs = PASSES[covariance_type](guarded.array, None, 3).e_step(components)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(observed, np.repeat(ours.counts[:, np.newaxis], 4, axis=1))


def test_units_far_from_one():
    guarded, components, _ = incomplete("full", (131, 3, 2), np.float64)
    X = guarded.array
    units = np.array([1e-100, 1.0, 1e80])
    ours, _ = IncompletePass(X, None, 2, "full").e_step(components)
    scaled = components._replace(
        means=components.means * units,
        precisions_cholesky=components.precisions_cholesky / units[:, np.newaxis],
    )
    theirs, _ = IncompletePass(X * units, None, 2, "full").e_step(scaled)
    missing = np.isnan(X).sum(axis=0)
    shift = ((len(X) - missing) * np.log(units)).sum()
    assert theirs.objective == pytest.approx(ours.objective - shift, rel=1e-12)
    np.testing.assert_allclose(theirs.counts, ours.counts, rtol=1e-11)
    np.testing.assert_allclose(theirs.sums / units, ours.sums, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        theirs.scatter / units / units[:, np.newaxis], ours.scatter, rtol=1e-9, atol=1e-9
    )


def test_the_same_bits_on_any_number_of_threads():
    guarded, components, _ = incomplete("full", (5000, 3, 4), np.float64)
    tested = IncompletePass(guarded.array, None, 4, "full")
    results = on_threads((1, get_num_threads()), lambda: tested.e_step(components)[0])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_row_too_far_is_an_error():
    guarded, components, _ = incomplete("full", (10, 2, 2), np.float64)
    guarded.array[4] = 1e200
    with pytest.raises(ValueError, match="not finite"):
        IncompletePass(guarded.array, None, 2, "full").e_step(components)
