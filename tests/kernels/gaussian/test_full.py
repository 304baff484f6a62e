import numba
import numpy as np
import pytest
from guards import Guarded
from numba import njit
from numba.core.errors import TypingError
from reference import responsibilities_of, scatter_statistics, whitened_log_joint
from scipy.stats import multivariate_normal
from threads import on_threads

from fastem.kernels import gaussian_log_density
from fastem.kernels.gaussian import PASSES, GaussianComponents, GaussianPass
from fastem.kernels.gaussian.full import full_pass, movement
from fastem.kernels.gaussian.scatter.layout import totals_size
from fastem.kernels.gaussian.whitening import pack_triangles, packed_size

DTYPES = [np.float32, np.float64]
# (rows, features, components)
SHAPES = [
    (1, 1, 1), (2, 2, 1), (3, 3, 2), (7, 7, 3), (63, 4, 7), (64, 5, 3), (65, 8, 2), (129, 1, 65),
    (129, 63, 2), (300, 64, 3), (130, 65, 2), (200, 129, 2), (2000, 2, 7), (1500, 6, 4),
    (1100, 17, 3), (700, 3, 129), (5000, 9, 2),
]  # fmt: skip


def upper_factors(rng, k, d, condition=30.0):
    """Factors of the precisions of covariances with the condition number and random axes."""
    factors = np.empty((k, d, d))
    for j in range(k):
        Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
        covariance = (Q * np.geomspace(1, 1 / condition, d)) @ Q.T
        factors[j] = np.linalg.inv(np.linalg.cholesky(covariance)).T
    return np.triu(factors)


def problem(n, d, k, dtype=np.float64, offset=0.0, seed=0):
    rng = np.random.default_rng(seed + n + d + k)
    means = rng.normal(size=(k, d)) + offset
    X = (means[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(dtype)
    log_weights = np.log(rng.dirichlet(np.full(k, 3.0)))
    weights = rng.integers(0, 4, n) * rng.uniform(size=n)
    return X, weights, GaussianComponents(log_weights, means, upper_factors(rng, k, d))


def check(statistics, X, sample_weight, log_density, responsibilities, centers, rtol):
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    responsibilities = (responsibilities * w[:, np.newaxis]).astype(float)
    counts, sums, scatter = scatter_statistics(X, responsibilities, centers)
    objective = float(w @ log_density)
    assert abs(statistics.objective - objective) <= rtol * float(w @ np.abs(log_density))
    np.testing.assert_allclose(statistics.counts, counts, rtol=rtol, atol=rtol)
    spread = np.sqrt(np.einsum("kii->ki", scatter))
    bound = rtol * (np.sqrt(counts)[:, np.newaxis] * spread + rtol)
    assert (np.abs(statistics.sums - sums) <= bound).all()
    bound = rtol * (spread[:, :, np.newaxis] * spread[:, np.newaxis] + rtol)
    assert (np.abs(statistics.scatter - scatter) <= bound).all()
    np.testing.assert_array_equal(statistics.scatter, statistics.scatter.swapaxes(1, 2))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_step(shape, dtype, weighted):
    X, weights, parameters = problem(*shape, dtype)
    sample_weight = weights if weighted else None
    log_joint = whitened_log_joint(X, *parameters[:3])
    rtol = 1e-10 if dtype is np.float64 else 3e-4
    passes = full_pass(X, sample_weight, shape[2])
    for hard in (False, True):
        log_density, responsibilities = responsibilities_of(log_joint, hard)
        if hard and dtype is np.float32:
            top = np.sort(log_joint, axis=1)[:, -2:]
            if (top[:, -1] - top[:, 0] < 1e-3)[top[:, -1] > top[:, 0]].any():
                continue  # float32 can't tell which is the most probable
        for centers in (None, parameters.means + 0.5):
            statistics = passes.e_step(parameters, centers=centers, hard=hard)
            centers = parameters.means if centers is None else centers
            check(statistics, X, sample_weight, log_density, responsibilities, centers, rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_from_labels(shape, dtype):
    X, weights, parameters = problem(*shape, dtype)
    n, _, k = shape
    labels = np.random.default_rng(0).integers(-1, k, n).astype(np.int32)
    responsibilities = (labels[:, np.newaxis] == np.arange(k)).astype(float)
    rtol = 1e-10 if dtype is np.float64 else 1e-5
    for sample_weight in (None, weights):
        statistics = full_pass(X, sample_weight, k).from_labels(labels, parameters.means)
        assert statistics.objective == 0
        check(statistics, X, sample_weight, np.zeros(n), responsibilities, parameters.means, rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_evaluate(shape, dtype):
    X, _, parameters = problem(*shape, dtype)
    n, _, k = shape
    log_joint = whitened_log_joint(X, *parameters[:3])
    log_density, responsibilities = responsibilities_of(log_joint)
    passes = full_pass(X, None, k)
    outputs = {
        "log_density": Guarded(np.zeros(n, dtype)),
        "labels": Guarded(np.zeros(n, np.int32)),
        "responsibilities": Guarded(np.zeros((n, k), dtype)),
        "log_joint": Guarded(np.zeros((n, k), dtype)),
    }
    passes.evaluate(parameters, **{name: output.array for name, output in outputs.items()})
    assert all(output.intact() for output in outputs.values())
    rtol = 1e-11 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(outputs["log_density"].array, log_density.astype(float), rtol=rtol)
    np.testing.assert_allclose(outputs["log_joint"].array, log_joint.astype(float), rtol=rtol)
    np.testing.assert_allclose(
        outputs["responsibilities"].array, responsibilities.astype(float), rtol=10 * rtol, atol=rtol
    )
    labels = outputs["labels"].array
    best = log_joint.max(axis=1)
    assert (log_joint[np.arange(n), labels] >= best - rtol * np.abs(best)).all()
    # Alone, each output is the same.
    for name, output in outputs.items():
        alone = np.zeros_like(output.array)
        passes.evaluate(parameters, **{name: alone})
        np.testing.assert_array_equal(alone, output.array)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_guard_padding(shape, dtype):
    X, weights, parameters = problem(*shape, dtype)
    n, _, k = shape
    inputs = [Guarded(array) for array in (X, weights, *parameters[:3])]
    rows, sample_weight, *guarded = (guard.array for guard in inputs)
    passes = full_pass(rows, sample_weight, k)
    given, expected = GaussianComponents(*guarded), full_pass(X, weights, k).e_step(parameters)
    for a, b in zip(passes.e_step(given), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    labels = Guarded(np.arange(n, dtype=np.int32) % k)
    passes.from_labels(labels.array, given.means)
    assert all(guard.intact() for guard in (*inputs, labels))


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_for_any_number_of_threads(dtype):
    X, weights, parameters = problem(20_000, 5, 6, dtype)
    labels = (np.arange(len(X)) % 6).astype(np.int32)

    def run():
        passes = full_pass(X, weights, 6)
        return [*passes.e_step(parameters), *passes.from_labels(labels, parameters.means)]

    expected = run()
    for found in on_threads(range(1, numba.config.NUMBA_NUM_THREADS), run):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_from_the_origin(dtype):
    """Covariances keep their digits at 1e4 standard deviations: raw moments would have none."""
    rng = np.random.default_rng(0)
    d, k = 6, 2
    centers = np.array([1e4, -3e4])[:, np.newaxis] * np.ones(d)
    X = (centers[rng.integers(0, k, 3000)] + rng.normal(size=(3000, d))).astype(dtype)
    parameters = GaussianComponents(
        np.log([0.5, 0.5]), centers + 0.1, upper_factors(rng, k, d, 3.0)
    )
    log_density, responsibilities = responsibilities_of(whitened_log_joint(X, *parameters[:3]))
    statistics = full_pass(X, None, k).e_step(parameters)
    rtol = 1e-12 if dtype is np.float64 else 2e-6
    check(statistics, X, None, log_density, responsibilities, parameters.means, rtol)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8, 1e12])
def test_condition_numbers(condition):
    rng = np.random.default_rng(0)
    d = 8
    factors = upper_factors(rng, 1, d, condition)
    X = rng.normal(size=(200, d)) @ np.linalg.inv(factors[0]) + 3
    mean = np.full((1, d), 3.0)
    result = gaussian_log_density(X, mean, factors)[:, 0]
    expected = whitened_log_joint(X, [0.0], mean, factors)[:, 0].astype(float)
    np.testing.assert_allclose(result, expected, rtol=1e-10 * np.sqrt(condition), atol=0)
    if condition <= 1e8:  # SciPy takes others for singular
        covariance = np.linalg.inv(factors[0] @ factors[0].T)
        exact = multivariate_normal(mean[0], covariance).logpdf(X)
        np.testing.assert_allclose(result, exact, rtol=1e-12 * condition)


@pytest.mark.parametrize("dtype", DTYPES)
def test_improbable_rows(dtype):
    """Rows at -1e6 and below, and one component that is impossible."""
    X = np.array([[0.0, 0.0], [2e3, 0.0], [1e8, -1e8]], dtype)
    factors = np.stack([np.eye(2)] * 3)
    log_weights = np.log(np.array([0.5, 0.5, 1e-300])) - [0, 0, 1e4]
    parameters = GaussianComponents(
        log_weights, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), factors
    )
    log_density, responsibilities = np.empty(3, dtype), np.empty((3, 3), dtype)
    passes = full_pass(X, None, 3)
    passes.evaluate(parameters, log_density=log_density, responsibilities=responsibilities)
    expected = responsibilities_of(whitened_log_joint(X, *parameters[:3]))
    np.testing.assert_allclose(log_density, expected[0].astype(float), rtol=1e-6)
    np.testing.assert_allclose(responsibilities[:2], expected[1][:2].astype(float), atol=1e-6)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-6)
    assert all(np.isfinite(value).all() for value in passes.e_step(parameters))


def test_zero_weights_hide_impossible_rows():
    X = np.array([[0.0], [1e200], [1.0]])
    parameters = GaussianComponents(np.zeros(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    passes = full_pass(X, np.array([1.0, 0.0, 2.0]), 1)
    statistics = passes.e_step(parameters)
    np.testing.assert_allclose(statistics.objective, -1.5 * np.log(2 * np.pi) - 1)
    passes = full_pass(X, None, 1)
    assert passes.e_step(parameters).objective == -np.inf


def test_passes_have_a_common_interface():
    for make in PASSES.values():
        assert isinstance(make(np.zeros((3, 2)), None, 2), GaussianPass)


def test_packing():
    for d in (1, 2, 4, 5, 9):
        factors = upper_factors(np.random.default_rng(d), 2, d)
        packed = pack_triangles(factors, np.float64)
        assert packed.shape == (2, packed_size(d))
        # All that is in the triangles, once; the rest are zeros.
        values = np.sort(factors[1][np.triu_indices(d)])
        np.testing.assert_array_equal(np.sort(packed[1][packed[1] != 0]), values)
        assert totals_size(d) >= 1 + d + d * (d + 1) // 2


def test_movement_bounds_distances():
    rng = np.random.default_rng(0)
    for d in (1, 2, 5, 20):
        for size in (1e-6, 1e-3, 0.1, 1.0):
            old_means, old = rng.normal(size=(3, d)), upper_factors(rng, 3, d)
            means = old_means + size * rng.normal(size=(3, d))
            new = np.triu(old + size * rng.normal(size=old.shape) / d)
            shrink, drift = movement(old_means, old, means, new)
            X = 5 * rng.normal(size=(500, d))
            for j in range(3):
                before = np.linalg.norm((X - old_means[j]) @ old[j], axis=1)
                after = np.linalg.norm((X - means[j]) @ new[j], axis=1)
                assert (after >= (shrink[j] * before - drift[j]) * (1 - 1e-9) - 1e-9).all()
            if size < 1e-5:
                assert (shrink > 0.99).all()
                assert (drift < 0.01).all()


# The log-densities for users

TYPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]


def factors_of(covariance_type, k, d, rng):
    """``precisions_cholesky`` of the type, and as a matrix for each component."""
    matrices = upper_factors(rng, k, d)
    if covariance_type == "full":
        return matrices, matrices
    if covariance_type == "tied":
        return matrices[0], np.stack([matrices[0]] * k)
    scales = rng.uniform(0.5, 2, size=(k, d))
    if covariance_type == "diag":
        given = scales
    elif covariance_type == "spherical":
        given = scales[:, 0].copy()
        scales = np.repeat(given[:, np.newaxis], d, axis=1)
    elif covariance_type == "tied_diag":
        given = scales[0].copy()
        scales = np.repeat(given[np.newaxis], k, axis=0)
    else:
        given = np.array(scales[0, 0])
        scales = np.full((k, d), given)
    return given, np.stack([np.diag(row) for row in scales])


@njit
def compiled(X, means, precisions_cholesky, covariance_type):
    return gaussian_log_density(X, means, precisions_cholesky, covariance_type)


@njit
def compiled_by_default(X, means, precisions_cholesky):
    return gaussian_log_density(X, means, precisions_cholesky)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("function", [gaussian_log_density, compiled])
def test_gaussian_log_density(function, covariance_type, dtype):
    for n, d, k in ((1, 1, 1), (70, 3, 2), (64, 3, 3), (200, 17, 5)):
        rng = np.random.default_rng(d)
        given, matrices = factors_of(covariance_type, k, d, rng)
        X, means = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d))
        expected = whitened_log_joint(X, np.zeros(k), means, matrices).astype(float)
        rtol = 1e-11 if dtype is np.float64 else 1e-4
        # A single number may be one, or an array without dimensions.
        for precisions in (given, float(given)) if given.ndim == 0 else (given,):
            result = function(X, means, precisions, covariance_type)
            assert result.dtype == dtype
            np.testing.assert_allclose(result, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("function", [gaussian_log_density, compiled_by_default])
def test_log_density_of_any_layout(function):
    rng = np.random.default_rng(0)
    X, means, factors = rng.normal(size=(9, 3)), rng.normal(size=(2, 3)), upper_factors(rng, 2, 3)
    expected = function(X, means, factors)
    lower = np.tril(np.full((3, 3), 7.0), -1)  # not used
    np.testing.assert_array_equal(function(np.asfortranarray(X), means, factors + lower), expected)
    whole = np.rint(X).astype(np.int64)
    np.testing.assert_array_equal(
        function(whole, means, factors), function(whole.astype(float), means, factors)
    )
    assert function(X[:0], means, factors).shape == (0, 2)


@pytest.mark.parametrize("function", [gaussian_log_density, compiled])
def test_log_density_refuses(function):
    X, means, factors = np.zeros((3, 2)), np.zeros((4, 2)), np.stack([np.eye(2)] * 4)
    for bad in (
        (X[:, :1], means, factors, "full"),
        (X, means, factors[:3], "full"),
        (X, means, factors, "diag"),
        (X, means, factors[0], "diag"),
        (X, means, np.ones((3, 3)), "tied"),
        (X, means, np.ones(3), "spherical"),
        (X, means, np.ones(3), "tied_diag"),
        (X, means, np.ones(2), "full"),
        (X, means, 1.0, "spherical"),
        (X, means[:0], factors[:0], "full"),
        (X, means, factors, "unknown"),
    ):
        with pytest.raises(ValueError, match=r"shape|features|at least one|must be one of"):
            function(*bad)
    for bad in (-factors, 0 * factors, factors * np.nan):
        with pytest.raises(ValueError, match="must be positive"):
            function(X, means, bad, "full")
    with pytest.raises(ValueError, match="must be positive"):
        function(X, means, np.array([1.0, 1.0, 0.0, 1.0]), "spherical")


def test_log_density_refuses_types():
    X, means, factors = np.zeros((3, 2)), np.zeros((1, 2)), np.eye(2)[np.newaxis]
    with pytest.raises(ValueError, match="real numbers"):
        gaussian_log_density(X.astype(complex), means, factors)
    with pytest.raises(ValueError, match="2-D array"):
        gaussian_log_density(X[0], means, factors)
    with pytest.raises(TypingError, match="2-D arrays"):
        compiled_by_default(X[0], means, factors)
    with pytest.raises(TypingError, match="real numbers"):
        compiled_by_default(X.astype(complex), means, factors)
    with pytest.raises(TypingError, match="0 to 3 dimensions"):
        compiled_by_default(X, means, factors[np.newaxis])
