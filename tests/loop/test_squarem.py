"""Extrapolated EM steps."""

import numpy as np
import pytest
from reference import COVARIANCE_TYPES

from fastem import GaussianMixture, em
from fastem.loop.squarem import Accelerated
from fastem.mixtures.gaussian.accelerated import GaussianCoordinates
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.rows import array_rows


@pytest.fixture(scope="module")
def X():
    """Groups that overlap, for which EM takes many steps."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(4, 3))[rng.integers(4, size=1000)] * 1.5 + rng.normal(size=(1000, 3))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_fewer_iterations_to_the_same_optimum(covariance_type, X):
    options = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-9}
    plain = GaussianMixture(4, **options, max_iter=9999).fit(X)
    fast = GaussianMixture(4, **options, max_iter=9999, accelerate="squarem").fit(X)
    assert fast.converged_
    assert fast.n_iter_ < 0.7 * plain.n_iter_
    assert fast.lower_bound_ > plain.lower_bound_ - 1e-6
    assert (np.diff(fast.lower_bounds_) > -1e-13).all()
    assert fast.score(X) >= fast.lower_bound_ - 1e-12


@pytest.mark.parametrize("max_iter", range(1, 12))
def test_no_leap_is_left_unjudged(max_iter, X):
    model = GaussianMixture(4, accelerate="squarem", max_iter=max_iter, random_state=0, tol=1e-12)
    with pytest.warns(Warning, match="did not converge"):
        model.fit(X)
    assert model.n_iter_ == max_iter
    assert model.score(X) >= model.lower_bound_


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_coordinates_lead_there_and_back(covariance_type, X):
    options = {"covariance_type": covariance_type, "init_params": "random", "random_state": 0}
    base = GaussianMixture(4, **options, tol=0.1).fit(X)._parameters()
    there = GaussianMixture(4, **options, tol=1e-4).fit(X * 1.5 + 2)._parameters()
    coordinates = GaussianCoordinates(COVARIANCES[covariance_type], reg_covar=1e-6)
    np.testing.assert_allclose(coordinates.of(base, base), 0, atol=1e-12)
    back = coordinates.at(coordinates.of(there, base), base)
    assert back.noise is there.noise is None
    for name in ("weights", "means", "covariances", "precisions_cholesky"):
        np.testing.assert_allclose(
            getattr(back, name), getattr(there, name), rtol=1e-9, atol=1e-9, err_msg=name
        )
    # In coordinates that don't depend on the data's location and scale.
    moved_base, moved_there = (
        GaussianParameters(
            p.weights, 7 * p.means - 3, 49 * p.covariances, p.precisions_cholesky / 7
        )
        for p in (base, there)
    )
    np.testing.assert_allclose(
        coordinates.of(moved_there, moved_base), coordinates.of(there, base), atol=1e-9
    )
    assert coordinates.at(np.full_like(coordinates.of(there, base), 1e4), base) is None
    narrow = base._replace(covariances=base.covariances * 1e-9)  # below reg_covar
    assert coordinates.at(coordinates.of(narrow, base), base) is None
    if covariance_type in ("full", "tied"):
        flat = there._replace(covariances=np.ones_like(there.covariances))
        assert coordinates.of(flat, base) is None


class Linear(em.Model):
    """Steps towards zero whose rates differ."""

    warns = False
    tol = 1e-12

    def start(self, rows, random_state):
        return np.array([1.0, 1.0])

    def e_step(self, rows, parameters):
        return parameters

    def m_step(self, rows, statistics, parameters):
        return statistics * [0.99, 0.3]

    def objective(self, statistics, parameters):
        return -float(statistics @ statistics)


class Differences:
    """The parameters themselves as coordinates."""

    def of(self, parameters, base):
        return parameters - base

    def at(self, coordinates, base):
        return base + coordinates


def test_a_leap_goes_where_the_formula_says():
    run = em.fit(Accelerated(Linear(), Differences()), array_rows(np.zeros((1, 1))), max_iter=3)
    x0 = np.array([1.0, 1.0])
    x1, x2 = x0 * [0.99, 0.3], x0 * [0.99, 0.3] ** np.array([2.0, 2.0])
    r, v = x1 - x0, x2 - 2 * x1 + x0
    a = np.sqrt(r @ r) / np.sqrt(v @ v)
    leap = x0 + 2 * a * r + a**2 * v
    np.testing.assert_allclose(run.history, [-x @ x for x in (x0, x1, leap)])


def test_a_leap_that_lowers_the_objective_is_taken_back():
    class Overshooting(Differences):
        def at(self, coordinates, base):
            return base + 1e3

    model = Accelerated(Linear(), Overshooting())
    run = em.fit(model, array_rows(np.zeros((1, 1))), max_iter=50)
    plain = em.fit(Linear(), array_rows(np.zeros((1, 1))), max_iter=50)
    np.testing.assert_array_equal(run.history, plain.history)
