"""Fitted attributes, which a user may have set by hand."""

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

# What a sum of weights that were divided by their sum may be off one.
_ROUNDING = 1e-13


def fitted_array(estimator: Any, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """An attribute of an estimator in float64.

    Parameters
    ----------
    estimator : estimator
    name : str
    shape : tuple of int or None
        What it must have; None stands for any length.

    Returns
    -------
    ndarray, C-contiguous

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If there is none.
    ValueError
        If its shape is wrong or it holds anything but numbers.
    """
    if not hasattr(estimator, name):
        raise NotFittedError(
            f"This {type(estimator).__name__} instance is not fitted yet: it has no '{name}'. Call "
            "'fit' with appropriate arguments, or set all parameters, before using this estimator."
        )
    try:
        array = np.asarray(getattr(estimator, name), np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"The attribute '{name}' should be an array of numbers: {error}") from None
    lengths = [a if b is None else b for a, b in zip(array.shape, shape, strict=False)]
    if array.ndim != len(shape) or array.shape != tuple(lengths) or 0 in array.shape:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(
            f"The attribute '{name}' should have the shape of ({wanted}), but got {array.shape}"
        )
    if np.isnan(array).any():
        raise ValueError(f"The attribute '{name}' holds NaN.")
    return array


def fitted_weights(estimator: Any, n_components: int | None = None) -> np.ndarray:
    """An estimator's ``weights_``: non-negative, with any sum, for starts may have that."""
    weights = fitted_array(estimator, "weights_", (n_components,))
    if not ((weights >= 0.0).all() and 0.0 < weights.sum() < np.inf):
        raise ValueError("The attribute 'weights_' should be non-negative and finite, not all zero")
    return weights


def as_shares(weights: np.ndarray) -> np.ndarray:
    """Weights of any sum as probabilities; those that are normalised already to the last bit."""
    total = weights.sum()
    return weights if abs(total - 1.0) <= _ROUNDING else weights / total
