"""Extrapolated EM steps of a user's mixture."""

import math

import numpy as np
import pytest

from fastem import em
from fastem.mixtures.own.accelerated import OwnCoordinates
from fastem.mixtures.own.parameters import OwnParameters


class Exponentials(em.Mixture):
    def log_density(x, rate):
        return math.log(rate) - rate * x[0] if rate > 0 else math.nan

    def m_step(self, counts, sums):
        return counts / sums[:, 0]


class Fussy(Exponentials):
    """Will not hear of rates that its M-step didn't return."""

    def m_step(self, counts, sums):
        self.known = super().m_step(counts, sums)
        return self.known

    def arguments(self, rates):
        if not np.isin(rates, self.known).all():
            raise ArithmeticError("unknown rates")
        return rates


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.exponential(np.repeat([1.0, 4.0], 400))[:, np.newaxis]


def test_fewer_iterations_to_the_same_optimum(X):
    options = {"tol": 1e-9, "max_iter": 9999, "random_state": 0}
    plain = Exponentials(2, **options).fit(X)
    fast = Exponentials(2, **options, accelerate="squarem").fit(X)
    assert fast.converged_
    assert fast.n_iter_ < 0.7 * plain.n_iter_
    assert fast.lower_bound_ > plain.lower_bound_ - 1e-6
    assert (np.diff(fast.lower_bounds_) > -1e-13).all()


def test_after_leaps_that_fail_the_steps_are_those_of_em(X):
    options = {"tol": 1e-7, "max_iter": 9999, "random_state": 0}
    plain = Fussy(2, **options).fit(X)
    fast = Fussy(2, **options, accelerate="squarem").fit(X)
    assert fast.lower_bounds_ == plain.lower_bounds_
    np.testing.assert_array_equal(fast.parameters_, plain.parameters_)


def test_coordinates_lead_there_and_back():
    base = OwnParameters(np.array([0.2, 0.8]), (np.array([1.0, 2.0]), np.ones((2, 2))))
    there = OwnParameters(np.array([0.4, 0.6]), (np.array([3.0, 5.0]), np.eye(2)))
    coordinates = OwnCoordinates()
    found = coordinates.of(there, base)
    expected = [math.log(2), math.log(0.75), 2, 3, 0, -1, -1, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    weights, own = coordinates.at(found, base)
    np.testing.assert_allclose(weights, there.weights, rtol=1e-14)
    for array, right in zip(own, there.own, strict=True):
        np.testing.assert_allclose(array, right, rtol=1e-14)
    empty = there._replace(own=(np.array([3.0, np.nan]), np.eye(2)))
    assert coordinates.of(empty, base) is None
