"""Uniform noise beside a Gaussian mixture's components, for rows that belong to none of them.

J. D. Banfield and A. E. Raftery, "Model-based Gaussian and non-Gaussian clustering", Biometrics 49,
1993.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.linalg.factors import product
from fastem.mixtures.attributes import fitted_array
from fastem.mixtures.gaussian.pooled import pooled
from fastem.sklearn_private import InvalidParameterError

#: The noise's weight where a fit starts, unless the weights given leave another.
START_WEIGHT = 0.05

# Values of rows worked on together.
_BLOCK_SIZE = 1 << 18


class Noise(NamedTuple):
    """The noise among a mixture's parameters.

    Parameters
    ----------
    weight : float
        Its share of the rows: one less the sum of the components' weights.
    log_density : float
        The logarithm of its density, the same everywhere.
    box : ndarray of shape (1 + n_features, n_features) or None
        A corner of the rows' box, and the edges from there; None if the density was given.
    """

    weight: float
    log_density: float
    box: np.ndarray | None

    def sample(self, size: int, random_state: np.random.RandomState) -> np.ndarray:
        """Draw rows.

        Raises
        ------
        ValueError
            If there is no box to draw them from.
        """
        if self.box is None:
            raise ValueError(
                "The noise has a density but no bounds, so that no rows can be drawn from it; "
                "noise_component='auto' finds bounds"
            )
        corner, edges = self.box[0], self.box[1:]
        return corner + random_state.uniform(size=(size, len(edges))) @ edges


def fitted_noise(estimator: Any, n_features: int) -> Noise | None:
    """The noise of a fitted estimator, whose attributes a user may have set; None for none.

    Raises
    ------
    ValueError
        If an attribute is out of range.
    """
    if not hasattr(estimator, "noise_weight_"):
        return None
    weight = float(fitted_array(estimator, "noise_weight_", ()))
    if not 0.0 < weight <= 1.0:  # one by rounding, where the components have next to nothing
        raise ValueError(f"The attribute 'noise_weight_' should be in (0, 1], but got {weight}")
    log_density = float(fitted_array(estimator, "noise_log_density_", ()))
    if not np.isfinite(log_density):
        raise ValueError("The attribute 'noise_log_density_' should be finite")
    box = getattr(estimator, "noise_box_", None)
    if box is not None:
        box = fitted_array(estimator, "noise_box_", (1 + n_features, n_features))
    return Noise(weight, log_density, box)


def noise_finder(noise_component: str | float | None) -> Callable[[Any], Noise] | None:
    """From rows to noise that weighs nothing yet, for an estimator's ``noise_component``."""
    if noise_component is None:
        return None
    if isinstance(noise_component, bool | np.bool):  # which are numbers, too
        raise InvalidParameterError(
            "The 'noise_component' parameter of GaussianMixture must be a str among {'auto'}, "
            f"a float in the range (-inf, inf) or None. Got {noise_component!r} instead."
        )
    if noise_component == "auto":
        return _measured_density
    return partial(_given_density, log_density=noise_component)


def _given_density(rows, log_density):
    return Noise(0.0, float(log_density), None)


def _measured_density(rows: Any) -> Noise:
    """Noise that fills the rows' box; it weighs nothing yet.

    The box is parallel to the features or to the rows' principal components, whichever is smaller.

    Raises
    ------
    ValueError
        If the box has no volume.
    """
    _, mean, scatter = pooled(rows, matrices=True)
    axes = np.linalg.eigh(scatter)[1].T
    boxes = [_box(rows, mean, np.eye(len(mean))), _box(rows, mean, axes)]
    log_volume, box = min(boxes, key=lambda pair: pair[0])
    if not np.isfinite(log_volume):
        raise ValueError(
            "noise_component='auto' needs rows that fill a volume, but a feature is constant or "
            "follows from the others; leave it out, or give the logarithm of the noise's density"
        )
    return Noise(0.0, -log_volume, box)


def _box(rows, mean, axes):
    """The logarithm of the volume of the rows' box along these axes, and the box."""
    extents = [extent for extent in rows.map(_extent, mean, axes) if extent is not None]
    low = np.min([extent[0] for extent in extents], axis=0)
    high = np.max([extent[1] for extent in extents], axis=0)
    # What rounding leaves of a width that is nothing.
    far = np.abs(mean) + np.max([np.abs(extent).max(axis=0) for extent in extents], axis=0)
    rounding = 4.0 * len(mean) * np.finfo(np.float64).eps * np.abs(axes) @ far
    with np.errstate(divide="ignore"):
        log_widths = np.log(np.where(high - low > rounding, high - low, 0.0))
    box = np.vstack([mean + low @ axes, (high - low)[:, np.newaxis] * axes])
    return float(log_widths.sum()), box


# The step that runs where the rows are.


def _extent(part, mean, axes):
    """The least and the greatest coordinates along the axes, relative to the mean."""
    extents = [(some.min(axis=0), some.max(axis=0)) for some in _coordinates(part, mean, axes)]
    if not extents:
        return None
    low, high = zip(*extents, strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)


def _coordinates(part, mean, axes) -> Iterator[np.ndarray]:
    """Those of rows with a weight, block by block."""
    size = max(1, _BLOCK_SIZE // len(mean))
    for start in range(0, part.n_rows, size):
        block = slice(start, start + size)
        X = part.X[block]
        if part.sample_weight is not None:
            X = X[part.sample_weight[block] > 0.0]
        if len(X):
            yield product(X - mean, axes.T)
