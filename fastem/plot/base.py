"""What all displays share: where they draw, their style, components' colours, features' names."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastem.sklearn_private import InvalidParameterError, check_matplotlib_support

# A user's colour and those of ours that it takes the place of.
_REPLACED = {"color": ("c", "facecolor", "edgecolor"), "facecolor": ("c",)}


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
        check_axes(f"{type(self).__name__}.plot", ax)
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        self.ax_ = ax
        self.figure_ = ax.figure
        return ax


def check_axes(caller: str, ax: Any) -> None:
    """Raise unless there is a matplotlib, and the axes are its own or None."""
    check_matplotlib_support(caller)
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes | None):
        raise InvalidParameterError(
            f"The 'ax' parameter of {caller} must be an instance of 'matplotlib.axes.Axes' or "
            f"None. Got {ax!r} instead."
        )


def styled(artist: type, style: dict[str, Any], options: dict[str, Any] | None) -> dict[str, Any]:
    """A style and the user's keywords, which come first under any of their names (``lw``).

    Parameters
    ----------
    artist : subclass of matplotlib.artist.Artist
        What is drawn; it knows the names.
    style : dict
        By matplotlib's full names.
    options : dict or None
    """
    from matplotlib.cbook import normalize_kwargs

    options = normalize_kwargs(options or {}, artist)
    replaced = {name for given in _REPLACED if given in options for name in _REPLACED[given]}
    return {**{name: style[name] for name in style if name not in replaced}, **options}


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
    from matplotlib.lines import Line2D

    for numbers, values, style in lines:
        ax.plot(numbers, values, **styled(Line2D, {"marker": ".", **style}, options))
    ax.set(**labels)
    ax.xaxis.get_major_locator().set_params(integer=True)
