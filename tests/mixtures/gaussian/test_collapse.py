"""Variances of which nothing is left, or of which float32 can hold nothing."""

import pickle

import numpy as np
import pytest
from reference import COVARIANCE_TYPES

from fastem import GaussianMixture
from fastem.mixtures.gaussian.collapse import check_collapse
from fastem.mixtures.gaussian.covariances import COVARIANCES, CollapsedError

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_row_for_each_component_is_a_collapse(covariance_type, dtype):
    rows = np.random.default_rng(2).normal(size=(6, 2))
    who = "all components together" if "tied" in covariance_type else "component"
    for X in (rows, 1e-8 * rows, 1000 + 1e-3 * rows):
        model = GaussianMixture(6, covariance_type=covariance_type, reg_covar=0, random_state=0)
        with pytest.raises(CollapsedError, match=f"(?s)increase reg_covar.*covariance of {who}"):
            model.fit(X.astype(dtype))
        assert not hasattr(model, "means_")


def test_the_error_comes_unchanged_from_another_process():
    error = CollapsedError("component 1")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is CollapsedError
    assert str(again) == str(error)
    assert again.culprit == "component 1"


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_variances_that_shrink_end_in_an_error(covariance_type):
    """The start has variances, but two rows of the same value are all that is near to one mean."""
    X = np.array([[0.0], [1.0], [2.0], [50.0], [50.0]])
    start = {"means_init": [[1.0], [50.0]], "weights_init": [0.6, 0.4]}
    shape = {"full": (2, 1, 1), "diag": (2, 1), "spherical": 2}[covariance_type]
    start["precisions_init"] = np.ones(shape)
    with pytest.raises(CollapsedError, match="component 1 "):
        GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, **start).fit(X)
    model = GaussianMixture(2, covariance_type="tied_diag", reg_covar=0, random_state=0).fit(X)
    assert model.covariances_[0] == pytest.approx(2 / 5, rel=1e-6)  # everyone's


def test_small_variances_are_not_rounding():
    """However small the units, and far from zero as long as digits are left."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 9])
    for covariance_type in COVARIANCE_TYPES:
        options = {"covariance_type": covariance_type, "reg_covar": 0, "random_state": 0}
        plain = GaussianMixture(2, **options).fit(X)
        for factor, offset in ((1e-100, 0.0), (1e-6, 1.0), (1.0, 1e9)):
            found = GaussianMixture(2, **options).fit(X * factor + offset)
            order = np.argsort(found.means_[:, 0]), np.argsort(plain.means_[:, 0])
            expected = plain.covariances_
            if "tied" not in covariance_type:
                found.covariances_, expected = found.covariances_[order[0]], expected[order[1]]
            np.testing.assert_allclose(
                found.covariances_ / factor**2, expected, rtol=1e-4, atol=1e-4
            )


def test_features_that_determine_each_other_are_a_collapse():
    x = np.random.default_rng(0).normal(size=(100, 1))
    X = np.hstack([x, 3.1 * x, x + 0.7])
    for covariance_type in ("full", "tied"):
        model = GaussianMixture(1, covariance_type=covariance_type, reg_covar=0)
        with pytest.raises(CollapsedError, match="reg_covar"):
            model.fit(X)
        assert np.isfinite(model.set_params(reg_covar=1e-6).fit(X).score(X))


def test_what_counts_as_rounding():
    means = np.array([[1.0, 10.0], [2.0, -20.0]])
    diag = COVARIANCES["diag"]
    fine = np.array([[1e-27, 1e-25], [1e-27, 1e-25]])  # (32 eps)**2 is 5e-29, times 4 and 400
    check_collapse(diag, fine, fine**-0.5, means)
    low = np.array([[1e-27, 1e-25], [1e-27, 1e-26]])
    with pytest.raises(CollapsedError, match="component 1 "):
        check_collapse(diag, low, low**-0.5, means)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
def test_seeds_without_regularisation_start_with_the_covariance_of_all(
    init_params, covariance_type
):
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(170, 2)) * [1, 6] + [3, 20]])
    weight = rng.uniform(0.5, 2, size=len(X))
    options = {"covariance_type": covariance_type, "init_params": init_params, "reg_covar": 0}
    for seed in range(10):
        model = GaussianMixture(2, **options, random_state=seed).fit(X)
        assert model.converged_
        assert np.isfinite(model.score(X))
    if "tied" in covariance_type:
        return
    start = GaussianMixture(2, **options, max_iter=0, random_state=0).fit(X, None, weight)
    pooled = np.cov(X.T, aweights=weight, ddof=0)
    expected = {
        "full": pooled,
        "diag": np.diag(pooled),
        "spherical": np.trace(pooled) / 2,
    }[covariance_type]
    for covariance in start.covariances_:
        np.testing.assert_allclose(covariance, expected, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied_diag", "tied_spherical"])
def test_float32_keeps_what_it_cannot_hold_in_float64(covariance_type):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 9])
    options = {"covariance_type": covariance_type, "random_state": 0, "reg_covar": 0}
    for factor in (1e21, 1e-21):
        X = (rows * factor).astype(np.float32)
        model = GaussianMixture(2, **options).fit(X)
        exact = GaussianMixture(2, **options).fit(X.astype(np.float64))
        assert model.means_.dtype == np.float32
        assert model.precisions_cholesky_.dtype == np.float32
        for name in ("covariances_", "precisions_"):
            found = getattr(model, name)
            assert found.dtype == np.float64
            np.testing.assert_allclose(
                found * factor ** (2 if name == "precisions_" else -2),
                getattr(exact, name) * factor ** (2 if name == "precisions_" else -2),
                rtol=1e-3,
                atol=1e-4,
            )
        np.testing.assert_array_equal(model.predict(X), exact.predict(X.astype(np.float64)))
        variance = np.trace(np.cov(X.T.astype(np.float64), ddof=0))
        assert np.trace(model.covariance()) == pytest.approx(variance, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_number_is_no_small_variance():
    one, zeros = np.ones(1), np.zeros((1, 2))
    for kind in COVARIANCES.values():
        scatter = np.full(kind.shape(1, 2), np.nan)
        with pytest.raises(CollapsedError):
            kind.factor(kind.estimate(one, zeros, scatter, zeros, zeros, one, 1e-6))
    for X in (np.array([[1e200], [-1e200], [3e200], [0.0]]), np.full((4, 1), 1e308)):
        for covariance_type in COVARIANCE_TYPES:
            try:
                model = GaussianMixture(1, covariance_type=covariance_type).fit(X)
            except ValueError:
                continue
            assert np.isfinite(model.covariances_).all()
            assert np.isfinite(model.means_).all()


@pytest.mark.parametrize("covariance_type", COVARIANCES)
@pytest.mark.parametrize("exponent", [-70, 70, 100])
def test_float32_rows_whose_products_float32_does_not_hold(exponent, covariance_type):
    """A fit doesn't depend on the unit, here a power of two."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(80, 2)), 2 * rng.normal(size=(80, 2)) + 9])
    X = X.astype(np.float32)
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "random_state": 0}
    plain = GaussianMixture(2, **options).fit(X.astype(np.float64))
    unit = 2.0**exponent
    model = GaussianMixture(2, **options).fit(np.ldexp(X, exponent))
    assert model.means_.dtype == np.float32
    np.testing.assert_allclose(model.means_ / unit, plain.means_, rtol=1e-6)
    np.testing.assert_allclose(model.covariances_ / unit**2, plain.covariances_, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(np.ldexp(X, exponent)), plain.predict(X))
