"""What all displays share: where they draw, and the components' colours and features' names."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastem.sklearn_private import check_matplotlib_support


class Display:
    """Base class of the displays: where they draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the picture is.
    figure_ : matplotlib Figure
        The figure that contains it.
    """

    def _begin(self, ax):
        """Find axes to draw on."""
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        self.ax_ = ax
        self.figure_ = ax.figure
        return ax


def colors_of(n_components: int) -> np.ndarray:
    """A colour for each component, red, green and blue: (n_components, 3)."""
    import matplotlib

    if n_components <= 10:
        return np.array(matplotlib.color_sequences["tab10"])[:n_components]
    return matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, n_components))[:, :3]


def feature_names(estimator: Any, n_features: int) -> list[str]:
    """The names that the estimator was fitted with, or else numbers."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"feature {i}" for i in range(n_features)] if names is None else list(names)


def plot_lines(ax: Any, lines: Iterable[tuple], options: dict[str, Any], **labels: str) -> None:
    """Draw lines over whole numbers.

    Parameters
    ----------
    ax : matplotlib Axes
    lines : iterable of (array-like, array-like, dict)
        Each line's numbers, values and style.
    options : dict
        The user's keywords for matplotlib's ``plot``, which come before a style.
    **labels
        ``xlabel`` and ``ylabel``.
    """
    for numbers, values, style in lines:
        ax.plot(numbers, values, **{"marker": ".", **style, **options})
    ax.set(**labels)
    ax.xaxis.get_major_locator().set_params(integer=True)
