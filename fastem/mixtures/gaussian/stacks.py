"""Covariances of any type as stacks: with an axis for the components, of length one if they share
one covariance, and behind it the axes of matrices, of diagonals or of multiples of the identity.
"""

from typing import Any

import numpy as np

from fastem.mixtures.gaussian.covariances import COVARIANCES, Covariances


def order(kind: Covariances) -> int:
    """The number of axes of one covariance: 2 for matrices, 1 for diagonals, 0 for numbers."""
    return len(kind.shape(1, 1)) - (not kind.tied)


def covariance_type(order: int, tied: bool) -> str:
    """The name of the type with covariances of this order."""
    shape = (1,) * (order + (not tied))
    return next(
        name
        for name, kind in COVARIANCES.items()
        if kind.tied == tied and kind.shape(1, 1) == shape
    )


def stacked(kind: Covariances, covariances: np.ndarray) -> np.ndarray:
    """Covariances as a stack."""
    return covariances[np.newaxis] if kind.tied else covariances


def widened(stack: np.ndarray, order: int, n_features: int) -> np.ndarray:
    """The same covariances as a stack of at least this order."""
    if stack.ndim == 1 and order > 0:
        stack = np.repeat(stack[:, np.newaxis], n_features, axis=1)
    if stack.ndim == 2 and order > 1:
        stack = stack[:, :, np.newaxis] * np.eye(n_features)
    return stack


def of_features(kind: Covariances, covariances: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Covariances of some of the features, shaped as they are."""
    index: tuple[Any, ...] = np.ix_(*[features] * order(kind))
    return covariances[(..., *index)]
