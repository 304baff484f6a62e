"""Iterations that a fit takes at once are those that it takes one by one."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture
from fastem.mixtures.gaussian.model import GaussianModel

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"
)


def rows(n_rows=300, n_features=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, n_features)) + 1.5 * rng.integers(3, size=(n_rows, 1))


def same(left, right):
    assert left.n_iter_ == right.n_iter_
    assert left.converged_ == right.converged_
    np.testing.assert_allclose(left.lower_bounds_, right.lower_bounds_, rtol=1e-10)
    np.testing.assert_allclose(left.means_, right.means_, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(left.covariances_, right.covariances_, rtol=1e-8, atol=1e-8)
    assert [left.lower_bound_] == (left.lower_bounds_[-1:] or [-np.inf])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_iter": 0},
        {"max_iter": 1},
        {"tol": 1e-6, "max_iter": 500},
        {"tol": 0.0, "max_iter": 230},
        {"assignment": "hard"},
        {"n_init": 3},
    ],
)
def test_a_fit(options, monkeypatch):
    X, weight = rows(), np.random.default_rng(1).uniform(0.2, 2.0, 300)
    options = {"n_components": 4, "random_state": 0, **options}
    at_once = GaussianMixture(**options).fit(X, sample_weight=weight)
    asked = []
    monkeypatch.setattr(GaussianModel, "settled", lambda *args: asked.append(args))
    one_by_one = GaussianMixture(**options).fit(X, sample_weight=weight)
    assert bool(asked) == (options.get("max_iter") != 0)
    same(at_once, one_by_one)
    if options.get("tol") == 0.0:
        assert at_once.n_iter_ == 230


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_a_fit_of_many_rows(covariance_type, assignment, dtype, monkeypatch):
    X = rows(20_000, 12).astype(dtype)
    weight = np.random.default_rng(1).uniform(0.2, 2.0, len(X))
    options = {"covariance_type": covariance_type, "assignment": assignment, "tol": 1e-4}
    found = []
    advanced = GaussianModel.advanced
    monkeypatch.setattr(
        GaussianModel, "advanced", lambda *args: found.append(advanced(*args)) or found[-1]
    )
    at_once = GaussianMixture(4, random_state=0, **options).fit(X, sample_weight=weight)
    assert sum(len(history) for _, _, history in found) == at_once.n_iter_ > 2
    monkeypatch.setattr(GaussianModel, "advanced", lambda *args: None)
    one_by_one = GaussianMixture(4, random_state=0, **options).fit(X, sample_weight=weight)
    same(at_once, one_by_one)


@pytest.mark.parametrize(
    "options",
    [
        {"covariance_type": "tied"},
        {"covariance_type": "spherical"},
        {"covariance_type": "EVI"},
        {"covariance_type": "diag", "fixed": ["weights"]},
        {"covariance_type": "diag", "prior": "conjugate"},
        {"covariance_type": "diag", "reg_covar": 0.0},
        {"covariance_type": "diag", "noise_component": "auto"},
    ],
)
def test_fits_with_another_m_step(options, monkeypatch):
    """They never take iterations at once that would leave out what is theirs."""
    fitted = GaussianMixture(3, random_state=0, **options).fit(rows())
    monkeypatch.setattr(GaussianModel, "advanced", lambda *args: None)
    same(fitted, GaussianMixture(3, random_state=0, **options).fit(rows()))


def test_a_fit_that_goes_on(monkeypatch):
    def twice():
        model = GaussianMixture(4, warm_start=True, max_iter=3, random_state=0).fit(rows())
        return model.set_params(max_iter=100).fit(rows()), model.fit(rows())

    at_once = twice()
    assert at_once[1].n_iter_ == 1  # nothing changes any more
    monkeypatch.setattr(GaussianModel, "settled", lambda *args: None)
    for left, right in zip(at_once, twice(), strict=True):
        same(left, right)


def test_who_looks_on_sees_each_iteration(capsys):
    options = {"n_components": 4, "random_state": 0}
    shown = GaussianMixture(verbose=1, verbose_interval=1, **options).fit(rows())
    assert capsys.readouterr().out.count("  Iteration ") == shown.n_iter_ > 2
    alone = GaussianMixture(**options).fit(rows())
    assert alone.lower_bounds_ == shown.lower_bounds_
    np.testing.assert_array_equal(alone.covariances_, shown.covariances_)
