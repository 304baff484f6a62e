"""The covariances that share some of volume, shape and orientation, as SciPy finds them."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import ortho_group

from fastem.mixtures.gaussian.covariances import constrained

NAMES = ("EVI", "VEI", "EEV", "EVV", "VEE", "VEV", "EVE", "VVE")
every_name = pytest.mark.parametrize("name", NAMES)


def problem(n_components, n_features, seed=0, spread=1.0):
    """Covariances of random scatter, and weights."""
    rng = np.random.default_rng([seed, n_components, n_features])
    rows = rng.normal(size=(n_components, n_features + 2, n_features))
    rows = rows * np.exp(spread * rng.normal(size=(n_components, 1, n_features)))
    rows = rows @ (np.eye(n_features) + 0.5 * rng.normal(size=(n_features, n_features)))
    weights = rng.dirichlet(np.full(n_components, 3.0))
    return rows.swapaxes(1, 2) @ rows / (n_features + 2), weights


def estimate(name, S, weights, start=None):
    """The estimate in matrices; of diagonal models only the diagonals matter."""
    if name.endswith("I"):
        diagonals = np.einsum("kii->ki", S)
        start = None if start is None else np.einsum("kii->ki", start)
        found = getattr(constrained, name.lower())(diagonals.copy(), weights, start)
        return found[:, :, np.newaxis] * np.eye(S.shape[1])
    return getattr(constrained, name.lower())(S, weights, start)


def objective(covariances, S, weights):
    fits = np.linalg.solve(covariances, S)
    terms = np.linalg.slogdet(covariances)[1] + np.einsum("kii->k", fits)
    return weights @ terms


def moved(name, covariances, x):
    """Covariances of the type near the given ones: an unconstrained vector says where.

    Written from the definition, volume * D diag(shape) D', apart from what the estimates do.
    """
    volume, shape, orientation = name
    k, d, _ = covariances.shape
    x = list(x)

    def take(*size):
        return np.array([x.pop() for _ in range(int(np.prod(size)))]).reshape(size)

    log_volumes = take(k) if volume == "V" else np.full(k, take(1)[0])
    log_shapes = take(k, d) if shape == "V" else np.tile(take(d), (k, 1))
    log_shapes = log_shapes - log_shapes.mean(axis=1, keepdims=True)
    skew = np.zeros((k, d, d))
    if orientation == "V":
        skew = take(k, d, d)
    elif orientation == "E":
        skew = np.tile(take(d, d), (k, 1, 1))
    skew = skew - skew.swapaxes(1, 2)
    turns = np.linalg.solve(np.eye(d) - skew, np.eye(d) + skew)  # Cayley's rotations
    variances, axes = np.linalg.eigh(covariances)
    if orientation == "I":
        axes = np.tile(np.eye(d), (k, 1, 1))
        variances = np.einsum("kii->ki", covariances)
    elif orientation == "E" and shape == "V":
        mixed = np.einsum("k,kij->ij", 1 + np.arange(k) / 7, covariances)
        axes = np.tile(np.linalg.eigh(mixed)[1], (k, 1, 1))
        variances = np.einsum("kji,kjl,kli->ki", axes, covariances, axes)
    variances = variances * np.exp(log_volumes[:, np.newaxis] + log_shapes)
    axes = axes @ turns
    return np.einsum("kij,kj,klj->kil", axes, variances, axes)


def size(name, k, d):
    sizes = {"I": 0, "E": 1, "V": k}
    return sum(sizes[letter] * one for letter, one in zip(name, (1, d, d * d), strict=True))


@every_name
@pytest.mark.parametrize(("n_components", "n_features"), [(1, 2), (2, 1), (3, 2), (3, 3), (2, 4)])
def test_scipys_optimiser_gains_nothing(name, n_components, n_features):
    for seed in range(2):
        S, weights = problem(n_components, n_features, seed)
        found = estimate(name, S, weights)
        least = objective(found, S, weights)
        zero = np.zeros(size(name, n_components, n_features))
        np.testing.assert_allclose(moved(name, found, zero), found, rtol=1e-9, atol=1e-9)

        def near(x, found=found, S=S, weights=weights):
            return objective(moved(name, found, x), S, weights)

        assert minimize(near, zero).fun > least - 1e-8
        # From elsewhere it ends no lower either, but orientations in common have other optima.
        if not name.endswith("VE"):
            start = np.random.default_rng(seed).normal(size=len(zero), scale=0.3)
            assert minimize(near, start).fun > least - 1e-8


@every_name
def test_any_number_of_steps_lowers_the_objective(name):
    """From covariances of the type that belong to other scatter."""
    for seed in range(10):
        S, weights = problem(4, 5, seed)
        covariances = estimate(name, *problem(4, 5, seed + 100))
        history = [objective(covariances, S, weights)]
        for _ in range(5):
            covariances = estimate(name, S, weights, covariances)
            history.append(objective(covariances, S, weights))
        assert (np.diff(history) < 1e-10).all()
        assert history[-1] < history[0]


@every_name
def test_covariances_of_the_type_are_their_own_estimate(name):
    for spread in (0.0, 1.0, 2.0):
        covariances = estimate(name, *problem(5, 4, spread=spread))
        for start in (None, covariances):
            again = estimate(name, covariances, np.full(5, 0.2), start)
            roots = np.sqrt(np.einsum("kii->ki", covariances))
            error = (again - covariances) / (roots[:, :, np.newaxis] * roots[:, np.newaxis])
            assert np.abs(error).max() < 1e-7


@every_name
def test_one_component_has_its_own_covariance(name):
    S, _ = problem(1, 4)
    expected = S * np.eye(4) if name.endswith("I") else S
    np.testing.assert_allclose(estimate(name, S, np.ones(1)), expected, rtol=1e-10, atol=1e-12)


def test_wider_types_fit_better():
    wider = [("EVI", "EVE"), ("EVE", "EVV"), ("EVE", "VVE"), ("VEI", "VEE"), ("VEE", "VVE")]
    wider += [("VEE", "VEV"), ("EEV", "VEV"), ("EEV", "EVV")]
    for seed in range(5):
        S, weights = problem(3, 4, seed)
        values = {name: objective(estimate(name, S, weights), S, weights) for name in NAMES}
        for narrow, wide in wider:
            assert values[wide] < values[narrow] + 1e-9


@every_name
def test_rotations_and_scales(name):
    """Rotated rows have rotated covariances, scaled ones scaled; parallel axes are an exception."""
    S, weights = problem(3, 4)
    rotation = ortho_group.rvs(4, random_state=0)
    found = estimate(name, S, weights)
    turned = estimate(name, rotation @ S @ rotation.T, weights)
    same = np.allclose(turned, rotation @ found @ rotation.T, rtol=1e-5, atol=1e-6)
    assert same == (not name.endswith("I"))
    # Scales of the features are another matter: of these three, each stands in one place.
    scales = np.diag([1.0, 10.0, 0.1, 3.0])
    scaled = estimate(name, scales @ S @ scales, weights)
    same = np.allclose(scaled, scales @ found @ scales, rtol=1e-5)
    assert same == (name in ("EVI", "VEI", "EVV", "VEE"))


def test_shapes_that_are_all_but_disjoint():
    """Where taking volumes and shape in turn needs thousands of turns."""
    for ratio in (1e2, 1e4, 1e6):
        S = np.array([np.diag([ratio, 1.0, 1.0]), np.diag([1.0, 1.0, ratio]), np.eye(3)])
        weights = np.array([0.4, 0.5, 0.1])
        found = estimate("VEE", S, weights)
        np.testing.assert_allclose(found, estimate("VEI", S, weights), rtol=1e-6)
        volumes = np.linalg.det(found) ** (1 / 3)
        shape = found[0] / volumes[0]
        own = np.einsum("kij,ji->k", S, np.linalg.inv(shape)) / 3
        np.testing.assert_allclose(volumes, own, rtol=1e-6)
        common = np.einsum("k,kij->ij", weights / volumes, S)
        common /= np.linalg.det(common) ** (1 / 3)
        np.testing.assert_allclose(shape, common, rtol=1e-6, atol=1e-9)


@every_name
def test_components_without_variance_spoil_only_themselves(name):
    """Beside an all but empty component the others stay as they were."""
    S, weights = problem(3, 3)
    expected = estimate(name, S, weights)
    more = np.concatenate([S, 1e-6 * np.eye(3)[np.newaxis]])
    found = estimate(name, more, np.append(weights, 1e-17))
    np.testing.assert_allclose(found[:3], expected, rtol=1e-6, atol=1e-9)
    assert np.isfinite(found).all()
