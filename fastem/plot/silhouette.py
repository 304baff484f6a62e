"""Silhouettes by cluster."""

from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from fastem.plot.base import Display, check_axes, colors_of, styled
from fastem.silhouette import silhouette_samples


class SilhouetteDisplay(Display):
    """Every row's silhouette, sorted by cluster and size.

    Made by :meth:`from_estimator` or :meth:`from_labels`.

    Parameters
    ----------
    silhouettes : ndarray of shape (n_samples,)
    labels : ndarray of shape (n_samples,)

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    """

    def __init__(self, silhouettes, labels):
        self.silhouettes = silhouettes
        self.labels = labels

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, metric: str = "euclidean", ax: Any = None, **options: Any
    ) -> "SilhouetteDisplay":
        """Draw the silhouettes of a fitted estimator's clusters.

        Parameters
        ----------
        estimator : estimator with ``predict``
            Fitted.

        X : array-like of shape (n_samples, n_features)

        metric : str, default='euclidean'
            As for :func:`fastem.silhouette_samples`.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            As for :meth:`plot`.

        Returns
        -------
        display : SilhouetteDisplay
        """
        return cls.from_labels(X, estimator.predict(X), metric=metric, ax=ax, **options)

    @classmethod
    def from_labels(
        cls, X: Any, labels: Any, *, metric: str = "euclidean", ax: Any = None, **options: Any
    ) -> "SilhouetteDisplay":
        """Draw the silhouettes of any clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        labels : array-like of shape (n_samples,)
            Each row's cluster.

        metric, ax, **options
            As for :meth:`from_estimator`.

        Returns
        -------
        display : SilhouetteDisplay
        """
        check_axes(f"{cls.__name__}.from_labels", ax)
        silhouettes = silhouette_samples(X, labels, metric=metric)
        return cls(silhouettes, column_or_1d(labels)).plot(ax, **options)

    def plot(self, ax: Any = None, **options: Any) -> "SilhouetteDisplay":
        """Draw the silhouettes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            Keywords for matplotlib's ``fill_betweenx``.

        Returns
        -------
        self : SilhouetteDisplay
        """
        ax = self._begin(ax)
        from matplotlib.collections import PolyCollection

        names = np.unique(self.labels)
        gap = max(1, len(self.labels) // 100)
        bottom, middles = 0, []
        for name, color in zip(names, colors_of(len(names)), strict=True):
            values = np.sort(self.silhouettes[self.labels == name])
            rows = np.arange(bottom, bottom + len(values))
            style = {"step": "mid", "facecolor": color, "linewidth": 0}
            # Twice the only row's value: an area needs two points.
            edges = np.r_[rows[0] - 0.5, rows, rows[-1] + 0.5]
            ax.fill_betweenx(
                edges,
                0,
                np.r_[values[0], values, values[-1]],
                **styled(PolyCollection, style, options),
            )
            middles.append(rows.mean())
            bottom += len(values) + gap
        mean = float(np.mean(self.silhouettes))
        ax.axvline(mean, color="black", linestyle="--", label=f"mean {mean:.2f}")
        ax.set_yticks(middles, [str(name) for name in names])
        ax.set(xlabel="silhouette", ylabel="cluster")
        ax.legend()
        return self
