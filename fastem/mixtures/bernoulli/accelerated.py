"""The coordinates in which a Bernoulli mixture's EM steps are extrapolated."""

import numpy as np

from fastem.mixtures.bernoulli.model import BernoulliParameters
from fastem.mixtures.coordinates import log_ratios, weights_at


class BernoulliCoordinates:
    """Logarithms of the weights and of the odds of a one.

    A probability that is 0 or 1 has no odds. EM never changes it, and an extrapolation neither.
    """

    def of(self, parameters, base):
        new, old = parameters.probabilities, base.probabilities
        inside = _is_inside(old)
        if not (inside == _is_inside(new)).all():  # one has just become 0 or 1
            return None
        ratios = np.zeros(old.shape)
        ratios[inside] = np.log(new[inside] / old[inside]) - np.log(
            (1.0 - new[inside]) / (1.0 - old[inside])
        )
        return np.concatenate([log_ratios(parameters.weights, base.weights), ratios.ravel()])

    def at(self, coordinates, base):
        log_weights, ratios = np.split(coordinates, [len(base.weights)])
        old = base.probabilities
        try:
            with np.errstate(over="raise", invalid="raise"):
                weights = weights_at(log_weights, base.weights)
                ones = old * np.exp(ratios.reshape(old.shape))
                probabilities = ones / (ones + (1.0 - old))
        except FloatingPointError:
            return None
        if not (_is_inside(old) == _is_inside(probabilities)).all():
            return None
        return BernoulliParameters(weights, probabilities)


def _is_inside(probabilities):
    return (probabilities > 0.0) & (probabilities < 1.0)
