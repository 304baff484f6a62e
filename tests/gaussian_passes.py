"""Problems for the passes of Gaussian mixtures, and what their twins make of them."""

import math

import numpy as np
from guards import Guarded
from reference import (
    covariance_matrices,
    responsibilities_of,
    scatter_statistics,
    whitened_log_joint,
)

from fastem.kernels.gaussian import PASSES, GaussianComponents
from fastem.kernels.gaussian.base import Rules

# (rows, features, components): tails of tiles, of blocks of features and of components
SHAPES = [
    (1, 1, 1),
    (2, 2, 3),
    (63, 3, 2),
    (65, 1, 5),
    (129, 7, 4),
    (150, 8, 17),
    (70, 63, 3),
    (130, 64, 5),
    (64, 65, 6),
    (30, 129, 3),
]
REG_COVAR = 0.1  # of iterations: components of few rows are no worse conditioned than others


def problem(covariance_type, shape, dtype, distance=1.5, offset=0.0, seed=0, noise=False):
    """Rows from a mixture, on a cache line amid NaN, and the mixture's parameters.

    With noise, it takes about half of them.
    """
    n_rows, n_features, k = shape
    rng = np.random.default_rng(seed)
    matrices = np.eye(n_features) + np.triu(0.2 * rng.normal(size=(n_features, n_features)), 1)
    factors = {
        "full": matrices * rng.uniform(0.5, 2, size=(k, 1, 1)),
        "tied": matrices,
        "diag": rng.uniform(0.5, 2, size=(k, n_features)),
        "spherical": rng.uniform(0.5, 2, size=k),
        "tied_diag": rng.uniform(0.5, 2, size=n_features),
        "tied_spherical": np.array(rng.uniform(0.5, 2)),
    }[covariance_type]
    means = distance * rng.normal(size=(k, n_features)) + offset
    labels = rng.integers(k, size=n_rows)
    differences = rng.normal(size=(n_rows, 1, n_features))
    inverses = np.linalg.inv(covariance_matrices(factors, covariance_type, k, n_features))
    X = means[labels] + (differences @ inverses[labels])[:, 0]
    weights = rng.dirichlet(np.full(k, 3.0))
    log_noise = -2.0 * n_features if noise else -np.inf
    components = GaussianComponents(np.log(weights), means, factors, log_noise)
    return Guarded(X.astype(dtype)), components


def log_joint_of(X, parameters, covariance_type):
    factors = covariance_matrices(
        parameters.precisions_cholesky, covariance_type, *parameters.means.shape
    )
    log_joint = whitened_log_joint(X, parameters.log_weights, parameters.means, factors)
    if parameters.noisy:
        log_joint = np.column_stack([log_joint, np.full(len(X), parameters.log_noise)])
    return log_joint.astype(float)


def expected(X, parameters, covariance_type, sample_weight, centers, hard=False, labels=None):
    """The twin's statistics, as a tuple."""
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    objective = 0.0
    if labels is None:
        log_joint = log_joint_of(X, parameters, covariance_type)
        log_density, responsibilities = responsibilities_of(log_joint, hard)
        objective = w @ log_density
    else:
        responsibilities = (labels[:, np.newaxis] == np.arange(len(centers))).astype(float)
    responsibilities = responsibilities * w[:, np.newaxis]
    responsibilities, noise = np.split(responsibilities, [len(centers)], axis=1)
    counts, sums, scatter = scatter_statistics(X, responsibilities, centers)
    if covariance_type not in ("full", "tied"):
        scatter = np.einsum("kii->ki", scatter)
    if covariance_type.endswith("spherical"):
        scatter = scatter.sum(axis=1)
    if covariance_type.startswith("tied"):
        scatter = scatter.sum(axis=0)
    return objective, counts, sums, scatter, noise.sum()


def assert_close(statistics, twin, tolerance):
    """Relative to each kind's greatest value (and to the number of rows)."""
    n = max(twin[1].sum(), 1.0)
    spread = np.abs(twin[3]).max()
    sizes = np.abs(twin[0]) + n, n, spread + n, spread, n + twin[4]
    for ours, theirs, size in zip(statistics, twin, sizes, strict=True):
        assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * size)


def check_statistics(covariance_type, shape, dtype, tolerance, **options):
    """Steps and labelled rows, weighted and not, about the means and about other centres."""
    guarded, parameters = problem(covariance_type, shape, dtype, **options)
    X, k = guarded.array, shape[2]
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 3, size=len(X)) + 0.5 * (np.arange(len(X)) == 0)
    other = parameters.means + rng.normal(size=parameters.means.shape)
    labels = rng.integers(k, size=len(X)).astype(np.int32)
    some = rng.integers(-1, k, size=len(X)).astype(np.int32)
    for sample_weight in (None, weights):
        tested = PASSES[covariance_type](X, sample_weight, k)
        for centers, hard in ((None, False), (None, True), (other, False)):
            about = parameters.means if centers is None else centers
            twin = expected(X, parameters, covariance_type, sample_weight, about, hard)
            assert_close(tested.e_step(parameters, centers, hard), twin, tolerance)
        for given in (labels, some):
            twin = expected(X, parameters, covariance_type, sample_weight, other, labels=given)
            assert_close(tested.from_labels(given, other), twin, tolerance)
    assert guarded.intact()


def check_evaluation(covariance_type, shape, dtype, tolerance, **options):
    """Every per-row output, alone and with the others."""
    guarded, parameters = problem(covariance_type, shape, dtype, **options)
    X, k = guarded.array, shape[2]
    columns = k + parameters.noisy
    log_joint = log_joint_of(X, parameters, covariance_type)
    log_density, responsibilities = responsibilities_of(log_joint)
    outputs = {
        "log_density": Guarded(np.zeros(len(X), dtype)),
        "labels": Guarded(np.zeros(len(X), np.int64)),
        "responsibilities": Guarded(np.zeros((len(X), columns), dtype)),
        "log_joint": Guarded(np.zeros((len(X), columns), dtype)),
    }
    tested = PASSES[covariance_type](X, None, k)
    tested.evaluate(parameters, **{name: output.array for name, output in outputs.items()})
    ours = {name: output.array.copy() for name, output in outputs.items()}
    scale = 1 + np.abs(log_joint)
    np.testing.assert_allclose((ours["log_joint"] - log_joint) / scale, 0, atol=tolerance)
    np.testing.assert_allclose(
        (ours["log_density"] - log_density) / (1 + np.abs(log_density)), 0, atol=tolerance
    )
    np.testing.assert_allclose(
        ours["responsibilities"], responsibilities, atol=tolerance * (1 + np.abs(log_density).max())
    )
    assert ours["labels"].max() < k
    chosen = np.take_along_axis(log_joint, ours["labels"][:, np.newaxis], axis=1)[:, 0]
    assert (log_joint.max(axis=1) - chosen <= 2 * tolerance * scale.max(axis=1)).all()
    for name, output in outputs.items():
        output.array[:] = 0
        tested.evaluate(parameters, **{name: output.array})
        np.testing.assert_array_equal(output.array, ours[name])
        assert output.intact()


def check_shrinking_variances(covariance_type, dtype, tolerance):
    """Tight groups far from each other, under much wider densities, and from their labels."""
    rng = np.random.default_rng(0)
    guarded, parameters = problem(covariance_type, (400, 3, 4), dtype)
    X = guarded.array
    labels = rng.integers(4, size=400).astype(np.int32)
    means = 10 * np.eye(4, 3)
    X[:] = means[labels] + 1e-4 * rng.normal(size=X.shape)
    factors = np.ones_like(parameters.precisions_cholesky)
    if covariance_type == "tied":
        factors = np.eye(3)
    parameters = parameters._replace(means=means, precisions_cholesky=factors)
    tested = PASSES[covariance_type](X, None, 4)
    twin = expected(X, parameters, covariance_type, None, means)
    assert_close(tested.e_step(parameters), twin, 10 * tolerance)
    assert_close(tested.from_labels(labels, means), (0.0, *twin[1:]), 10 * tolerance)


def parameters_of(components):
    """Weights, means, covariances and factors, of matrices or of variances."""
    factors = components.precisions_cholesky
    if factors.ndim == 2:
        covariances = factors**-2.0
    else:
        roots = np.linalg.inv(factors)
        covariances = roots.swapaxes(1, 2) @ roots
    return np.exp(components.log_weights), components.means, covariances, factors


def three_steps(X, sample_weight=None, **others):
    """Rules of three E-steps, unless others are given."""
    rules = {
        "most": 3,
        "tol": -math.inf,
        "fall": math.inf,
        "before": -math.inf,
        "best": -math.inf,
        "hopeless": math.inf,
        "total_weight": len(X) if sample_weight is None else sample_weight.sum(),
        "least_count": 1e-15,
        "reg_covar": REG_COVAR,
        "most_cancellation": 1e3 if X.dtype == np.float64 else 10.0,
    }
    return Rules(**{**rules, **others})
