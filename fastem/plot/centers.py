"""Centres, means or probabilities: as images or as profiles."""

import math
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.plot.base import Display, colors_of, feature_names, styled

_ATTRIBUTES = ("cluster_centers_", "means_", "probabilities_")


class CentersDisplay(Display):
    """The centres of clusters, or the components' means or probabilities.

    Made by :meth:`from_estimator`.

    Parameters
    ----------
    centers : ndarray of shape (n_components, n_features)
    shape : (int, int) or None
        Of an image; None for profiles.
    names : list of str
        The features' names.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    """

    def __init__(self, centers, *, shape, names):
        self.centers = centers
        self.shape = shape
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        shape: tuple[int, int] | None = None,
        ax: Any = None,
        **options: Any,
    ) -> "CentersDisplay":
        """Draw the centres of a fitted estimator.

        Parameters
        ----------
        estimator : KMeans, KMedians, GaussianMixture or BernoulliMixture
            Fitted.

        shape : (int, int), default=None
            Height and width, if a row is an image; None for a line over the features.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            As for :meth:`plot`.

        Returns
        -------
        display : CentersDisplay
        """
        check_is_fitted(estimator)
        found = [getattr(estimator, name) for name in _ATTRIBUTES if hasattr(estimator, name)]
        if not found:
            raise ValueError(f"{type(estimator).__name__} has no {', '.join(_ATTRIBUTES)}")
        centers = np.asarray(found[0])
        if shape is not None and math.prod(shape) != centers.shape[1]:
            raise ValueError(f"{centers.shape[1]} features are no image of shape {shape}")
        names = feature_names(estimator, centers.shape[1])
        return cls(centers, shape=shape, names=names).plot(ax, **options)

    def plot(self, ax: Any = None, **options: Any) -> "CentersDisplay":
        """Draw the centres, images in rows from the upper left.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            Keywords for matplotlib's ``imshow`` or ``plot``.

        Returns
        -------
        self : CentersDisplay
        """
        ax = self._begin(ax)
        if self.shape is not None:
            ax.imshow(self._tiled(), **{"cmap": "gray", **options})
            ax.set_axis_off()
            return self
        from matplotlib.lines import Line2D

        positions = range(len(self.names))
        for j, (center, color) in enumerate(
            zip(self.centers, colors_of(len(self.centers)), strict=True)
        ):
            style = {"color": color, "marker": ".", "label": str(j)}
            ax.plot(positions, center, **styled(Line2D, style, options))
        if len(self.names) <= 12:
            ax.set_xticks(positions, self.names, rotation=30, ha="right")
        else:
            ax.set_xlabel("feature")
        ax.legend(title="component")
        return self

    def _tiled(self):
        """All images in one, a pixel apart."""
        height, width = self.shape
        across = math.ceil(math.sqrt(len(self.centers)))
        down = math.ceil(len(self.centers) / across)
        image = np.full((down * (height + 1) - 1, across * (width + 1) - 1), np.nan)
        for j, center in enumerate(self.centers):
            top, left = (j // across) * (height + 1), (j % across) * (width + 1)
            image[top : top + height, left : left + width] = center.reshape(self.shape)
        return image
