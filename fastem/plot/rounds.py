"""EM's rounds as an animation."""

from collections.abc import Collection
from typing import Any

import numpy as np

from fastem.plot.base import check_axes
from fastem.plot.mixture import MixtureDisplay, check_gaussian
from fastem.plot.recording import fit_watched


def animate_rounds(
    estimator: Any,
    X: Any,
    *,
    features: Collection[int | str] | int | str | None = None,
    ax: Any = None,
    interval: int = 400,
    **options: Any,
) -> Any:
    """Animate how EM fits a Gaussian mixture, from the start to the end of its first run.

    Parameters
    ----------
    estimator : GaussianMixture
        A clone of it is fitted.

    X : array-like of shape (n_samples, n_features)
        The rows to fit to and to draw.

    features : int, str or two of them, default=None
        As for :meth:`MixtureDisplay.from_estimator`.

    ax : matplotlib Axes, default=None
        Where to draw; None for a new figure.

    interval : int, default=400
        Milliseconds between frames.

    **options
        As for :meth:`MixtureDisplay.plot`.

    Returns
    -------
    animation : matplotlib.animation.FuncAnimation
        Keep it as long as it is shown. ``animation.save("em.gif")`` writes it to a file, and
        ``animation.to_jshtml()`` shows it in a notebook.
    """
    check_axes("animate_rounds", ax)
    check_gaussian("animate_rounds", estimator)
    from matplotlib import pyplot as plt
    from matplotlib.animation import FuncAnimation

    mixtures: list[Any] = []
    fitted = fit_watched(
        estimator, X, None, lambda as_before, run: mixtures.append(as_before), n_init=1
    )
    mixtures.append(fitted)
    if ax is None:
        _, ax = plt.subplots()

    def draw(number):
        ax.clear()
        mixture = mixtures[number]
        display = MixtureDisplay.from_estimator(mixture, X, features=features, ax=ax, **options)
        if len(display.names) == 2:
            # The same in each frame, whatever the ellipses do.
            low, high = display.X.min(axis=0), display.X.max(axis=0)
            margin = 0.2 * (high - low)
            ax.axis(np.column_stack([low - margin, high + margin]).ravel())
        when = f"round {number}" if number else "start"
        ax.set_title(f"{when}: mean log-density {mixture.score(X):.4g}")
        return ax.get_children()

    return FuncAnimation(ax.figure, draw, frames=len(mixtures), interval=interval)
