"""Gaussian mixtures where precision is easily lost."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import COVARIANCE_TYPES, covariance_matrices
from scipy.special import logsumexp
from scipy.stats import Covariance, multivariate_normal
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

from fastem import GaussianMixture
from fastem.mixtures.gaussian.estimator import GaussianModel

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def two_groups(n_rows=600, distance=6.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0.3], [0, 0, 1]])
    X[: n_rows // 2, 0] += distance
    return X


def random_mixture(covariance_type, condition, offset, n_components=3, n_features=5):
    """Weights, means, covariances with this condition number, and their Cholesky factors."""
    rng = np.random.default_rng(1)
    sigma = np.geomspace(1.0, np.sqrt(condition), n_features)
    shape = {
        "full": (n_components, n_features, n_features),
        "tied": (n_features, n_features),
        "diag": (n_components, n_features),
        "spherical": (n_components,),
        "tied_diag": (n_features,),
        "tied_spherical": (),
    }[covariance_type]
    if covariance_type in ("full", "tied"):
        roots = np.linalg.qr(rng.normal(size=shape))[0] * sigma
        covariances = roots @ roots.swapaxes(-1, -2)
    elif covariance_type in ("diag", "tied_diag"):
        covariances = rng.permuted(np.broadcast_to(sigma**2, shape), axis=-1)
    else:
        covariances = rng.uniform(1, 4, size=shape)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    means = rng.normal(size=(n_components, n_features)) * sigma + offset * sigma
    matrices = covariance_matrices(covariances, covariance_type, n_components, n_features)
    return weights, means, covariances, np.linalg.cholesky(matrices)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_log_density_is_scipys(covariance_type, condition, offset):
    weights, means, covariances, roots = random_mixture(covariance_type, condition, offset)
    rng = np.random.default_rng(2)
    labels = rng.integers(3, size=200)
    X = means[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(200, 5)))
    log_joint = np.stack(
        [
            np.log(weights[j])
            + multivariate_normal(means[j], Covariance.from_cholesky(roots[j])).logpdf(X)
            for j in range(3)
        ],
        axis=1,
    )
    model = GaussianMixture.from_parameters(weights, means, covariances, covariance_type)
    # Rows of large coordinates determine their differences from the means only so far.
    rounding = 1e-15 * (condition if covariance_type in ("full", "tied") else 1.0)
    rtol = 1e-12 + 10 * rounding + 1e-15 * offset * np.sqrt(condition)
    np.testing.assert_allclose(model.score_samples(X), logsumexp(log_joint, axis=1), rtol=rtol)
    np.testing.assert_allclose(
        model.complete_log_likelihood(X, labels),
        log_joint[np.arange(200), labels].sum(),
        rtol=rtol,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_far_from_every_component(covariance_type, dtype):
    X = two_groups()
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    far = (model.means_[0] + np.array([[2e3, 0, 0], [-3e3, 5e3, 1e3], [1e6, 1e6, 1e6]])).astype(
        dtype
    )
    log_density = model.score_samples(far)
    assert (log_density < -1e6).all()
    assert np.isfinite(log_density).all()
    responsibilities = model.predict_proba(far)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(responsibilities.argmax(axis=1), model.predict(far))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_float32_far_from_the_origin(covariance_type):
    """Means are 1e4 standard deviations from the origin."""
    X = two_groups()
    options = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-5}
    expected = GaussianMixture(2, **options).fit(X)
    single = (X + 1e4).astype(np.float32)
    model = GaussianMixture(2, **options).fit(single)
    np.testing.assert_allclose(model.means_ - 1e4, expected.means_, atol=2e-3)
    np.testing.assert_allclose(model.covariances_, expected.covariances_, atol=2e-3)
    np.testing.assert_allclose(model.score_samples(single), expected.score_samples(X), atol=0.01)


@pytest.mark.parametrize("offset", [1e4, 1e8])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_shift_of_the_rows_shifts_the_means(covariance_type, offset):
    X = np.round(two_groups() * 2**20) / 2**20  # exact after the shift
    options = {"covariance_type": covariance_type, "random_state": 0, "reg_covar": 0.0}
    expected = GaussianMixture(2, **options).fit(X)
    model = GaussianMixture(2, **options).fit(X + offset)
    assert model.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(model.means_ - offset, expected.means_, atol=1e-15 * offset + 1e-10)
    rtol = 1e-15 * offset + 1e-10
    np.testing.assert_allclose(model.covariances_, expected.covariances_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.lower_bounds_, expected.lower_bounds_, rtol=rtol)


@pytest.mark.parametrize("outlier", [1e5, 1e8])
def test_an_outlier_is_fitted_as_scikit_learn_fits_it(outlier):
    """The outlier gets a component of its own, so the others' means jump."""
    X = two_groups()
    X[7] = outlier
    theirs = SklearnGaussianMixture(2, random_state=0).fit(X)
    model = GaussianMixture(2, random_state=0).fit(X)
    assert model.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(model.covariances_, theirs.covariances_, rtol=1e-12)
    # From a start whose components the outlier moves far; with 1e8 and two of them, only luck
    # makes a Cholesky factorisation succeed.
    for n_components in (1, 2) if outlier == 1e5 else (1,):
        start = {
            "weights_init": np.full(n_components, 1 / n_components),
            "means_init": np.arange(n_components)[:, np.newaxis] + np.zeros(3),
            "precisions_init": np.tile(1e-4 * np.eye(3), (n_components, 1, 1)),
        }
        theirs = SklearnGaussianMixture(n_components, **start).fit(X)
        model = GaussianMixture(n_components, **start).fit(X)
        scale = np.abs(theirs.covariances_).max()
        np.testing.assert_allclose(model.covariances_, theirs.covariances_, atol=1e-12 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_an_outlier_takes_no_digits_from_the_others(covariance_type, dtype):
    """At 1e8 it has a component of its own; the other one is that of the rows without it."""
    group = two_groups(600, 0.0).astype(dtype)
    X = np.vstack([group, np.full((1, 3), 1e8, dtype)])
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0, reg_covar=0.01)
    order = np.argsort(model.fit(X).means_[:, 0])
    np.testing.assert_array_equal(model.predict(X), np.append(np.full(600, order[0]), order[1]))
    np.testing.assert_allclose(model.weights_[order], [600 / 601, 1 / 601], rtol=1e-6)
    rtol = 1e-10 if dtype == np.float64 else 1e-5
    mean = group.mean(axis=0, dtype=float)
    np.testing.assert_allclose(model.means_[order], [mean, [1e8] * 3], rtol=rtol, atol=rtol)
    expected = np.zeros((2, 3, 3))
    expected[0] = np.cov(group.T.astype(float), bias=True)
    if covariance_type.startswith("tied"):
        expected[:] = expected[0] * 600 / 601
    if covariance_type.endswith(("diag", "spherical")):
        expected *= np.eye(3)
    if covariance_type.endswith("spherical"):
        expected = np.trace(expected, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3
    expected += 0.01 * np.eye(3)
    found = covariance_matrices(model.covariances_, covariance_type, 2, 3)[order]
    np.testing.assert_allclose(found, expected, rtol=10 * rtol, atol=rtol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_component_without_weight_has_no_rows(covariance_type):
    X = two_groups()
    start = GaussianMixture(2, covariance_type=covariance_type, random_state=0, tol=0.1).fit(X)

    def fit(weights, means, precisions):
        model = GaussianMixture(len(weights), covariance_type=covariance_type, max_iter=3, tol=0.0)
        model.set_params(weights_init=weights, means_init=means, precisions_init=precisions)
        return model.fit(X)

    expected = fit(start.weights_, start.means_, start.precisions_)
    precisions = start.precisions_
    if not covariance_type.startswith("tied"):
        precisions = np.concatenate([precisions, precisions[:1]])
    means = np.vstack([start.means_, [[3.0, 0.0, 0.0]]])
    model = fit(np.append(start.weights_, 0.0), means, precisions)
    np.testing.assert_allclose(model.lower_bounds_, expected.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(model.means_[:2], expected.means_, rtol=1e-10, atol=1e-10)
    assert model.weights_[2] < 1e-15
    assert np.isfinite(model.means_).all()
    assert np.isfinite(model.covariances_).all()
    assert (model.predict(X) < 2).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_mean_that_comes_from_afar(covariance_type, dtype):
    """One pass about the old mean would leave nothing of the covariance."""
    X = two_groups().astype(dtype)
    model = GaussianMixture(
        1,
        covariance_type=covariance_type,
        means_init=[[1e7, 0, -1e7]],
        max_iter=1,
        reg_covar=0.0,
    ).fit(X)
    covariance = np.cov(X.T.astype(float), bias=True)
    if covariance_type.endswith("diag"):
        covariance = np.diag(covariance)
    elif covariance_type.endswith("spherical"):
        covariance = np.trace(covariance) / 3
    rtol = 1e-10 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(np.squeeze(model.covariances_), covariance, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.means_[0], X.mean(axis=0, dtype=float), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_constant_feature_has_the_variance_reg_covar(covariance_type, dtype):
    X = np.full((100, 3), 12345.678, dtype)
    X[:, 0] = two_groups(100)[:, 0]
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    np.testing.assert_allclose(model.means_[:, 1], X[0, 1], rtol=1e-7)
    matrices = covariance_matrices(model.covariances_, covariance_type, 2, 3)
    if not covariance_type.endswith("spherical"):
        np.testing.assert_allclose(matrices[:, 1, 1], 1e-6, rtol=1e-4)
    assert (matrices[:, 0, 0] > 0.1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_component_that_collapses_is_named(covariance_type, dtype):
    X = np.vstack([two_groups(100), np.full((20, 3), 50.0)]).astype(dtype)
    options = {"covariance_type": covariance_type, "random_state": 0}
    labels = GaussianMixture(2, **options).fit(X).predict(X)
    if covariance_type.startswith("tied"):
        X, culprit = X[100:], "all components together"
    else:
        culprit = f"component {labels[-1]} "
    with pytest.raises(ValueError, match=f"increase reg_covar.*covariance of {culprit}"):
        GaussianMixture(2, reg_covar=0.0, **options).fit(X)


def test_a_component_that_collapses_in_a_later_iteration_is_named():
    X = np.vstack([two_groups(100, 0.0), np.full((20, 3), 50.0)])
    start = {"means_init": [[0, 0, 0], [40, 40, 40]], "precisions_init": [np.eye(3)] * 2}
    with pytest.raises(ValueError, match=r"The covariance of component 1 is not positive def"):
        GaussianMixture(2, reg_covar=0.0, **start, weights_init=[0.5, 0.5]).fit(X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_any_number_of_threads_gives_the_same_bits(covariance_type):
    X = np.tile(two_groups(1000, 1.0), (20, 1))
    before = numba.get_num_threads()
    models = []
    try:
        for n_threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(n_threads)
            model = GaussianMixture(4, covariance_type=covariance_type, max_iter=5, random_state=0)
            models.append(model.fit(X))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(models[0].means_, models[1].means_)
    np.testing.assert_array_equal(models[0].covariances_, models[1].covariances_)
    assert models[0].lower_bounds_ == models[1].lower_bounds_


@pytest.mark.parametrize("distance", [1.0, 30.0])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_skipping_what_is_negligible_changes_nothing(covariance_type, distance, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 2)) + distance * rng.integers(5, size=(20_000, 2))
    model = GaussianMixture(
        25, covariance_type=covariance_type, init_params="k-means++", random_state=0, tol=0
    )
    model.set_params(max_iter=15, reg_covar=0.1).fit(X)
    skipping = model.lower_bounds_, model.means_
    monkeypatch.setattr(GaussianModel, "skip", False)
    model.fit(X)
    np.testing.assert_allclose(skipping[0], model.lower_bounds_, rtol=1e-13)
    np.testing.assert_allclose(skipping[1], model.means_, rtol=1e-10, atol=1e-10)


@given(
    seed=st.integers(0, 2**32 - 1),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    n_components=st.integers(1, 5),
    n_features=st.integers(1, 6),
    hard=st.booleans(),
    weighted=st.booleans(),
    fixed=st.sets(st.sampled_from(["weights", "means", "covariances"])),
    accelerate=st.sampled_from([None, "squarem"]),
    log_scale=st.integers(-3, 3),
    offset=st.sampled_from([0.0, 1e3]),
)
@settings(max_examples=150, deadline=None)
def test_the_objective_never_falls(
    seed,
    covariance_type,
    n_components,
    n_features,
    hard,
    weighted,
    fixed,
    accelerate,
    log_scale,
    offset,
):
    rng = np.random.default_rng(seed)
    n_rows = 60 * n_components
    X = rng.normal(size=(n_rows, n_features)) @ rng.normal(size=(n_features, n_features))
    X += rng.normal(size=(n_components, n_features))[rng.integers(n_components, size=n_rows)] * 2
    X = (X + offset) * 10.0**log_scale
    model = GaussianMixture(
        n_components,
        covariance_type=covariance_type,
        init_params="random" if seed % 2 else "kmeans",
        reg_covar=0.0,
        tol=0.0,
        max_iter=30,
        fixed=fixed,
        assignment="hard" if hard else "soft",
        accelerate=accelerate,
        random_state=seed,
    )
    try:
        model.fit(X, sample_weight=rng.exponential(size=n_rows) if weighted else None)
    except ValueError as error:
        assert "reg_covar" in str(error)
        return
    bounds = np.array(model.lower_bounds_)
    # A component of as few rows as it has features is all but singular, its density all rounding.
    matrices = covariance_matrices(model.covariances_, covariance_type, n_components, n_features)
    rounding = 1e-11 + np.finfo(float).eps * np.linalg.cond(matrices).max()
    assert (np.diff(bounds) >= -rounding * (1 + np.abs(bounds[1:]))).all()
    if not weighted:
        # What the last step led to is no worse than what it began with.
        assert _objective(model, X) >= bounds[-1] - 10 * rounding * (1 + abs(bounds[-1]))


def _objective(model, X):
    if model.assignment == "hard":
        return model.complete_log_likelihood(X, model.predict(X)) / len(X)
    return model.score(X)
