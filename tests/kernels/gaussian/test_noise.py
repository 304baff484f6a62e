"""Uniform noise beside the components, in every kind of pass."""

import numba
import numpy as np
import pytest
from gaussian_passes import SHAPES, check_evaluation, check_statistics, problem
from threads import on_threads

from fastem.kernels.gaussian import PASSES, GaussianComponents, long_rows
from fastem.kernels.gaussian.skip import visiting

DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
FULL_TOLERANCE = {np.float32: 3e-4, np.float64: 1e-10}
SOME_SHAPES = [shape for shape in SHAPES if shape[1] < 64]


def tolerance_of(covariance_type, dtype):
    return (FULL_TOLERANCE if covariance_type in ("full", "tied") else TOLERANCE)[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SOME_SHAPES)
@pytest.mark.parametrize("covariance_type", PASSES)
def test_statistics(covariance_type, shape, dtype):
    tolerance = tolerance_of(covariance_type, dtype)
    check_statistics(covariance_type, shape, dtype, tolerance, noise=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SOME_SHAPES)
@pytest.mark.parametrize("covariance_type", PASSES)
def test_evaluation(covariance_type, shape, dtype):
    tolerance = tolerance_of(covariance_type, dtype)
    check_evaluation(covariance_type, shape, dtype, tolerance, noise=True)


@pytest.mark.parametrize("covariance_type", ["diag", "tied_spherical"])
def test_long_rows(covariance_type, monkeypatch):
    monkeypatch.setattr(long_rows, "_FEATURES", 40)
    monkeypatch.setattr(long_rows, "_BLOCK_FEATURES", 16)
    for check in (check_statistics, check_evaluation):
        check(covariance_type, (70, 50, 3), np.float64, 1e-12, noise=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", PASSES)
def test_rows_too_far_for_any_component_are_noise(covariance_type, dtype):
    """Also where the squares of their distances overflow."""
    guarded, components = problem(covariance_type, (100, 3, 2), dtype, noise=True)
    X = guarded.array
    X[::10] = {np.float32: 1e25, np.float64: 1e200}[dtype]
    outputs = {
        "log_density": np.empty(100, dtype),
        "labels": np.empty(100, np.int64),
        "responsibilities": np.empty((100, 3), dtype),
        "log_joint": np.empty((100, 3), dtype),
    }
    tested = PASSES[covariance_type](X, None, 2)
    tested.evaluate(components, **outputs)
    np.testing.assert_array_equal(outputs["labels"][::10], -1)
    np.testing.assert_array_equal(outputs["responsibilities"][::10], [[0.0, 0.0, 1.0]] * 10)
    np.testing.assert_allclose(outputs["log_density"][::10], components.log_noise, rtol=1e-6)
    assert (outputs["log_joint"][::10, :2] < -1e9).all()
    for name, output in outputs.items():
        alone = np.empty_like(output)
        tested.evaluate(components, **{name: alone})
        if name == "log_joint":  # what float32 can't hold may be -inf then
            alone = np.where(np.isneginf(alone), output, alone)
        np.testing.assert_array_equal(alone, output)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log_noise", [-1e300, -1e3, 1e3])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied"])
def test_any_density(covariance_type, log_noise, dtype):
    """Noise that no row has, or all."""
    guarded, components = problem(covariance_type, (300, 2, 3), dtype)
    X = guarded.array
    noisy = components._replace(log_noise=log_noise)
    statistics = PASSES[covariance_type](X, None, 3).e_step(noisy)
    labels = np.empty(300, np.int64)
    PASSES[covariance_type](X, None, 3).evaluate(noisy, labels=labels)
    if log_noise > 0:
        assert statistics.noise == 300
        assert not statistics.counts.any()
        np.testing.assert_allclose(statistics.objective, log_noise * 300, rtol=1e-6)
        np.testing.assert_array_equal(labels, -1)
    else:
        plain = PASSES[covariance_type](X, None, 3).e_step(components)
        assert statistics.noise == 0
        np.testing.assert_allclose(statistics.counts, plain.counts, rtol=1e-6)
        assert labels.min() >= 0


def scattered(dtype, covariance_type, k=16, d=4, n_rows=6000):
    """Separate groups and a fifth of noise; components that aren't there yet."""
    rng = np.random.default_rng(0)
    means = 60.0 * rng.normal(size=(k, d))
    X = means[rng.integers(k, size=n_rows)] + rng.normal(size=(n_rows, d))
    X[::5] = rng.uniform(-200, 200, size=X[::5].shape)
    factors = {
        "full": np.stack([np.eye(d)] * k),
        "tied": np.eye(d),
        "diag": np.ones((k, d)),
        "spherical": np.ones(k),
        "tied_diag": np.ones(d),
        "tied_spherical": np.array(1.0),
    }[covariance_type]
    log_noise = np.log(0.2) - d * np.log(400.0)
    moved = means + 0.3 * rng.normal(size=means.shape)
    return (
        X.astype(dtype),
        means,
        GaussianComponents(np.full(k, np.log(0.8 / k)), moved, 0.8 * factors, log_noise),
    )


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", PASSES)
def test_skipping_changes_nothing(covariance_type, dtype, hard, monkeypatch):
    monkeypatch.setattr(visiting, "_LEAST_WORK", 0)
    monkeypatch.setattr(visiting, "_OVERHEAD", 0)
    X, means, components = scattered(dtype, covariance_type)
    weight = np.random.default_rng(1).integers(0, 3, size=len(X)).astype(float)
    for sample_weight in (None, weight):
        tested = PASSES[covariance_type](X, sample_weight, len(means))
        for share in (0.0, 0.5, 0.9, 0.99, 1.0):
            now = components._replace(means=share * means + (1 - share) * components.means)
            skipping = tested.e_step(now, hard=hard)
            plain = tested.e_step(now, hard=hard, skip=False)
            rtol = 1e-11 if dtype == np.float64 else 2e-5
            np.testing.assert_allclose(skipping.objective, plain.objective, rtol=rtol)
            np.testing.assert_allclose(skipping.noise, plain.noise, rtol=rtol)
            np.testing.assert_allclose(skipping.counts, plain.counts, rtol=rtol)
            for ours, theirs in zip(skipping[2:4], plain[2:4], strict=True):
                np.testing.assert_allclose(ours, theirs, atol=rtol * np.abs(plain[3]).max())
        if covariance_type in ("full", "diag", "spherical"):
            assert tested.sweep.visitor.skips


@pytest.mark.parametrize("covariance_type", ["full", "diag", "tied_diag"])
def test_same_for_any_number_of_threads(covariance_type):
    X, means, components = scattered(np.float64, covariance_type, n_rows=20_000)

    def run():
        tested = PASSES[covariance_type](X, None, len(means))
        return [value for _ in range(3) for value in tested.e_step(components)]

    for one, more in zip(*on_threads((1, numba.get_num_threads()), run), strict=True):
        np.testing.assert_array_equal(one, more)
