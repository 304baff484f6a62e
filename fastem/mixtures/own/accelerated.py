"""The coordinates in which the EM steps of a user's mixture are extrapolated."""

import numpy as np

from fastem.mixtures.coordinates import log_ratios, weights_at
from fastem.mixtures.own.parameters import OwnParameters, as_tuple, like


class OwnCoordinates:
    """Logarithms of the weights, and the user's parameters as they are.

    An extrapolation may lead to parameters that mean nothing: these are tried, and given up if the
    functions raise an error or return no number for them.
    """

    def of(self, parameters, base):
        pairs = zip(as_tuple(parameters.own), as_tuple(base.own), strict=True)
        differences = [(new - old).ravel() for new, old in pairs]
        coordinates = np.concatenate([log_ratios(parameters.weights, base.weights), *differences])
        return coordinates if np.isfinite(coordinates).all() else None

    def at(self, coordinates, base):
        arrays = as_tuple(base.own)
        sizes = [len(base.weights), *(array.size for array in arrays)]
        log_weights, *differences = np.split(coordinates, np.cumsum(sizes)[:-1])
        try:
            with np.errstate(over="raise", invalid="raise"):
                weights = weights_at(log_weights, base.weights)
                moved = [
                    array + difference.reshape(array.shape)
                    for array, difference in zip(arrays, differences, strict=True)
                ]
        except FloatingPointError:
            return None
        return OwnParameters(weights, like(base.own, moved))
