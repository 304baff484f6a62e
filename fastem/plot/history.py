"""The objective by iteration."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.plot.base import Display, check_axes, plot_lines
from fastem.plot.recording import fit_watched


class HistoryDisplay(Display):
    """The objective by iteration, a line for each run.

    Made by :meth:`from_estimator`.

    Parameters
    ----------
    histories : list of list of float
        What each run's iterations began with.
    objective : str
        What the values are.
    best : int
        The best run.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    """

    def __init__(self, histories, objective, best):
        self.histories = histories
        self.objective = objective
        self.best = best

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        sample_weight: Any = None,
        ax: Any = None,
        **options: Any,
    ) -> "HistoryDisplay":
        """Draw how a fit went.

        Parameters
        ----------
        estimator : KMeans, KMedians or mixture
            Fitted, unless ``X`` is given.

        X : array-like of shape (n_samples, n_features), default=None
            Rows to fit a clone to, so that all its runs can be drawn: inertias, or mean
            log-densities, each of which takes another pass over the rows. None for the fitted
            estimator's best run, the only one that it keeps.

        sample_weight : array-like of shape (n_samples,), default=None
            For the fit to ``X``.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            As for :meth:`plot`.

        Returns
        -------
        display : HistoryDisplay
        """
        check_axes(f"{cls.__name__}.from_estimator", ax)
        clusters = hasattr(estimator, "n_clusters")
        if X is None:
            check_is_fitted(estimator)
            history = estimator.inertias_ if clusters else estimator.lower_bounds_
            return cls([list(history)], "inertia" if clusters else "objective", 0).plot(
                ax, **options
            )
        histories: list[list[float]] = []

        def note(as_before, run):
            if run == len(histories):
                histories.append([])
            score = as_before.score(X, sample_weight=sample_weight)
            histories[run].append(-score if clusters else score)

        fit_watched(estimator, X, sample_weight, note)
        ends = [history[-1] for history in histories]
        best = int(np.argmin(ends) if clusters else np.argmax(ends))
        name = "inertia" if clusters else "mean log-density"
        return cls(histories, name, best).plot(ax, **options)

    def plot(self, ax: Any = None, **options: Any) -> "HistoryDisplay":
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            Keywords for matplotlib's ``plot``.

        Returns
        -------
        self : HistoryDisplay
        """
        ax = self._begin(ax)
        lines = [
            (range(1, len(history) + 1), history, self._style(run))
            for run, history in enumerate(self.histories)
        ]
        plot_lines(ax, lines, options, xlabel="iteration", ylabel=self.objective)
        if len(self.histories) > 1:
            ax.legend()
        return self

    def _style(self, run):
        if run != self.best:
            return {"label": f"run {run}", "linewidth": 1, "zorder": 2}
        several = len(self.histories) > 1
        return {"label": f"run {run}{', the best' if several else ''}", "linewidth": 2, "zorder": 3}
