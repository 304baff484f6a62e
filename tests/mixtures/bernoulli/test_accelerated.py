"""Extrapolated EM steps of Bernoulli mixtures."""

import numpy as np
import pytest

from fastem import BernoulliMixture
from fastem.mixtures.bernoulli.accelerated import BernoulliCoordinates
from fastem.mixtures.bernoulli.model import BernoulliParameters


@pytest.fixture(scope="module")
def X():
    """Components that overlap, for which EM takes many steps."""
    rng = np.random.default_rng(1)
    probabilities = rng.uniform(0.2, 0.8, size=(3, 10))
    return (rng.random((800, 10)) < probabilities[rng.integers(3, size=800)]).astype(float)


@pytest.mark.parametrize("options", [{}, {"alpha": 1.0}, {"fixed": ("weights",)}])
def test_fewer_iterations_to_the_same_optimum(options, X):
    options = {"tol": 1e-8, "max_iter": 9999, "random_state": 0, **options}
    plain = BernoulliMixture(3, **options).fit(X)
    fast = BernoulliMixture(3, **options, accelerate="squarem").fit(X)
    assert fast.converged_
    assert fast.n_iter_ < 0.7 * plain.n_iter_
    assert fast.lower_bound_ > plain.lower_bound_ - 1e-5
    assert (np.diff(fast.lower_bounds_) > -1e-13).all()
    if "fixed" in options:
        np.testing.assert_array_equal(fast.weights_, np.full(3, 1 / 3))


def test_coordinates_are_the_logarithms_of_odds():
    base = BernoulliParameters(np.array([0.25, 0.75]), np.array([[0.5, 0.0], [0.2, 1.0]]))
    there = BernoulliParameters(np.array([0.5, 0.5]), np.array([[0.75, 0.0], [0.5, 1.0]]))
    coordinates = BernoulliCoordinates()
    np.testing.assert_array_equal(coordinates.of(base, base), np.zeros(6))
    # Odds of 1 become 3, and 1/4 become 1; what is 0 or 1 stays.
    expected = np.log([2.0, 2 / 3, 3.0, 1.0, 4.0, 1.0])
    np.testing.assert_allclose(coordinates.of(there, base), expected, rtol=1e-14, atol=1e-15)
    back = coordinates.at(coordinates.of(there, base), base)
    for found, right in zip(back, there, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-14)
    assert coordinates.at(np.full(6, 1e4), base) is None
    # One that has just become 0 has no odds.
    gone = there._replace(probabilities=np.array([[0.0, 0.0], [0.5, 1.0]]))
    assert coordinates.of(gone, base) is None


def test_a_wrong_name_is_refused(X):
    with pytest.raises(ValueError, match="'accelerate' parameter of BernoulliMixture must be"):
        BernoulliMixture(2, accelerate="fast").fit(X)
