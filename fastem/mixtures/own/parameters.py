"""The parameters of a mixture of a user's own components: arrays of any shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.own import OwnComponents

# Axes that an argument of a component may have: a number, an array or a matrix.
_MOST_AXES = 2


class OwnParameters(NamedTuple):
    """A mixture.

    Parameters
    ----------
    weights : ndarray of shape (n_components,), float64
    own : ndarray or tuple of ndarray, float64
        What the user's M-step returned; first axes run over the components.
    """

    weights: np.ndarray
    own: Any

    def components(self, arguments: Callable) -> OwnComponents:
        """As the passes take them; ``arguments`` is the user's method of this name."""
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights)
            made = arguments(self.own)
        arrays = as_tuple(check_arrays(made, len(self.weights), "What 'arguments' returns"))
        for array in arrays:
            if array.ndim > 1 + _MOST_AXES:
                raise ValueError(
                    f"What 'arguments' returns should have at most {1 + _MOST_AXES} axes, but got "
                    f"an array of shape {array.shape}"
                )
        return OwnComponents(log_weights, arrays)


def as_tuple(own: Any) -> tuple:
    """The arrays of a user's parameters, of which one may stand alone."""
    return own if isinstance(own, tuple) else (own,)


def like(own: Any, arrays: Any) -> Any:
    """Arrays as the array or the tuple that ``own`` is."""
    if not isinstance(own, tuple):
        return arrays[0]
    return type(own)(*arrays) if hasattr(own, "_fields") else tuple(arrays)


def check_arrays(own: Any, n_components: int, source: str) -> Any:
    """An array or a tuple of arrays as float64, of which each has a row for each component.

    Raises
    ------
    ValueError
        If it is something else; ``source`` says where it comes from.
    """
    arrays = []
    for value in as_tuple(own):
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{source} should be an array or a tuple of arrays: {error}"
            ) from error
        if array.ndim == 0 or len(array) != n_components:
            raise ValueError(
                f"{source} should be an array, or a tuple of arrays, with n_components = "
                f"{n_components} rows each, but got one of shape {array.shape}"
            )
        arrays.append(array)
    return like(own, arrays)
