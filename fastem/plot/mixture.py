"""Gaussian mixtures over their rows: ellipses in two features, densities in one."""

from collections.abc import Collection
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.mixtures.attributes import as_shares
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.mixtures.gaussian.stacks import of_features, stacked, widened
from fastem.plot.base import Display, colors_of, feature_names, styled

_CURVE_POINTS = 400
_GREY = 0.6  # of noise: red, green and blue alike


def component_covariances(mixture: Any, features: np.ndarray) -> np.ndarray:
    """Each component's covariance of some features, whatever the covariance type.

    Returns
    -------
    ndarray of shape (n_components, len(features), len(features))
    """
    kind = COVARIANCES[mixture.covariance_type]
    some = of_features(kind, np.asarray(mixture.covariances_, np.float64), features)
    matrices = widened(stacked(kind, some), 2, len(features))
    return np.broadcast_to(matrices, (len(mixture.means_), *matrices.shape[1:]))


def check_gaussian(caller: str, estimator: Any) -> None:
    """Raise unless it is a Gaussian mixture, fitted or not; scikit-learn's is one, too."""
    if not hasattr(estimator, "covariance_type"):
        raise TypeError(f"{caller} draws Gaussian mixtures, not a {type(estimator).__name__}")


def ellipse(covariance: np.ndarray, probability: float) -> tuple[float, float, float]:
    """Width, height and angle in degrees of the ellipse that holds a share of a Gaussian."""
    variances, axes = np.linalg.eigh(covariance)
    # Squared distances have a chi-squared distribution of two degrees: an exponential one.
    width, height = 2 * np.sqrt(-2 * np.log1p(-probability) * variances[::-1])
    x, y = axes[:, 1]
    return float(width), float(height), float(np.degrees(np.arctan2(y, x)))


class MixtureDisplay(Display):
    """A Gaussian mixture over its rows.

    Made by :meth:`from_estimator`.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_shown)
    covariances : ndarray of shape (n_components, n_shown, n_shown)
        Of the one or two features shown.
    X : ndarray of shape (n_samples, n_shown)
    responsibilities : ndarray of shape (n_samples, n_components)
        One more column, the last, if there is a noise component.
    names : list of str
        The features' names.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    """

    def __init__(self, weights, means, covariances, *, X, responsibilities, names):
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self.X = X
        self.responsibilities = responsibilities
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        features: Collection[int | str] | int | str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> "MixtureDisplay":
        """Draw a fitted Gaussian mixture over rows.

        Parameters
        ----------
        estimator : GaussianMixture
            Fitted, of any covariance type.

        X : array-like of shape (n_samples, n_features)
            The rows to draw.

        features : int, str or two of them, default=None
            Positions of the features to show, or names that the estimator was fitted with: of one
            the components' density over a histogram, of two their ellipses. None for the first two,
            or the only one.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            As for :meth:`plot`.

        Returns
        -------
        display : MixtureDisplay
        """
        check_gaussian(cls.__name__, estimator)
        check_is_fitted(estimator)
        names = feature_names(estimator, estimator.means_.shape[1])
        shown = _positions(features, names)
        responsibilities = estimator.predict_proba(X)
        noise = getattr(estimator, "noise_weight_", 0.0)  # scikit-learn's estimators have none
        display = cls(
            as_shares(np.append(estimator.weights_, noise).astype(np.float64))[:-1],
            np.asarray(estimator.means_, np.float64)[:, shown],
            component_covariances(estimator, shown),
            X=np.asarray(X)[:, shown],
            responsibilities=responsibilities,
            names=[names[i] for i in shown],
        )
        return display.plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        probability: float = 0.9,
        bins: Any = "auto",
        rows_kw: dict | None = None,
        components_kw: dict | None = None,
    ) -> "MixtureDisplay":
        """Draw the mixture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        probability : float, default=0.9
            The share of a component that its ellipse holds; more than 0, less than 1.

        bins : default='auto'
            The histogram's, as for :func:`numpy.histogram_bin_edges`.

        rows_kw : dict, default=None
            Keywords for matplotlib's ``scatter`` (two features) or ``hist`` (one).

        components_kw : dict, default=None
            Keywords for matplotlib's ``Ellipse`` or ``plot``.

        Returns
        -------
        self : MixtureDisplay
        """
        if not 0 < probability < 1:
            raise ValueError(f"probability must be between 0 and 1, got {probability}")
        ax = self._begin(ax)
        colors = colors_of(len(self.weights))
        if len(self.names) == 2:
            self._draw_ellipses(ax, colors, probability, rows_kw, components_kw)
            ax.set(xlabel=self.names[0], ylabel=self.names[1])
        else:
            self._draw_densities(ax, colors, bins, rows_kw, components_kw)
            ax.set(xlabel=self.names[0], ylabel="density")
        return self

    def _draw_ellipses(self, ax, colors, probability, rows_kw, components_kw):
        from matplotlib.collections import PathCollection
        from matplotlib.patches import Ellipse

        # A row between components has a colour between theirs; noise is grey.
        shades = self.responsibilities[:, : len(colors)] @ colors
        shades += self.responsibilities[:, len(colors) :].sum(axis=1, keepdims=True) * _GREY
        shades = np.clip(shades, 0, 1)
        style = {"c": shades, "s": 12, "alpha": 0.6, "linewidth": 0}
        ax.scatter(*self.X.T, **styled(PathCollection, style, rows_kw))
        for mean, covariance, color in zip(self.means, self.covariances, colors, strict=True):
            width, height, angle = ellipse(covariance, probability)
            style = {"facecolor": "none", "edgecolor": color, "linewidth": 2}
            style = styled(Ellipse, style, components_kw)
            ax.add_patch(Ellipse(mean, width, height, angle=angle, **style))
        edges = {"marker": "X", "s": 90, "edgecolors": "white", "zorder": 3}
        ax.scatter(*self.means.T, c=colors, **edges)
        ax.autoscale_view()

    def _draw_densities(self, ax, colors, bins, rows_kw, components_kw):
        from matplotlib.lines import Line2D
        from matplotlib.patches import Rectangle

        values = self.X[:, 0]
        values = values[~np.isnan(values)]
        edges = np.histogram_bin_edges(values, bins)
        style = {"bins": edges, "density": True, "facecolor": "0.85", "label": "rows"}
        ax.hist(values, **styled(Rectangle, style, rows_kw))
        left, right = edges[0], edges[-1]
        margin = 0.05 * (right - left)
        x = np.linspace(left - margin, right + margin, _CURVE_POINTS)
        deviations = np.sqrt(self.covariances[:, 0, 0])
        z = (x[:, np.newaxis] - self.means[:, 0]) / deviations
        densities = self.weights * np.exp(-0.5 * z**2) / (deviations * np.sqrt(2 * np.pi))
        for j, color in enumerate(colors):
            style = {"color": color, "linestyle": "--"}
            ax.plot(x, densities[:, j], **styled(Line2D, style, components_kw))
        noisy = self.responsibilities.shape[1] > len(colors)
        label = "mixture without its noise" if noisy else "mixture"
        ax.plot(x, densities.sum(axis=1), color="black", label=label)
        ax.legend()


def _positions(features, names):
    """The positions of one or two features that are given by number or name."""
    if features is None:
        return np.arange(min(2, len(names)))
    numbers = {name: i for i, name in enumerate(names)}
    given = [features] if isinstance(features, str) else np.atleast_1d(np.asarray(features, object))
    shown = np.array([numbers.get(one, one) if isinstance(one, str) else one for one in given])
    if (
        shown.dtype.kind not in "iu"
        or shown.shape not in ((1,), (2,))
        or len(np.unique(shown)) < len(shown)
        or shown.min() < 0
        or shown.max() >= len(names)
    ):
        raise ValueError(
            f"features must be one or two different numbers from 0 to {len(names) - 1}, or names "
            f"of features, got {features!r}"
        )
    return shown
