"""A criterion against the number of components."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.plot.base import Display, plot_lines
from fastem.selection import CriterionSearch


class CriterionDisplay(Display):
    """A criterion against the number of components, a line for each covariance type.

    Made by :meth:`from_estimator`.

    Parameters
    ----------
    lines : dict of str to (ndarray, ndarray)
        Numbers of components and the criterion's values, by what else was varied.
    criterion : str
        The criterion's name.
    best : (int, float)
        Where the least value is.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    """

    def __init__(self, lines, criterion, best):
        self.lines = lines
        self.criterion = criterion
        self.best = best

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, criterion: str | None = None, ax: Any = None, **options: Any
    ) -> "CriterionDisplay":
        """Draw what a search has found.

        Parameters
        ----------
        estimator : CriterionSearch
            Fitted, with ``n_components`` among the parameters of its grid.

        criterion : {'criterion', 'bic', 'aic', 'icl', 'log_likelihood'}, default=None
            The column to draw; None for what the search minimised.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            As for :meth:`plot`.

        Returns
        -------
        display : CriterionDisplay
        """
        if not isinstance(estimator, CriterionSearch):
            raise TypeError(
                f"{cls.__name__} draws a CriterionSearch, not a {type(estimator).__name__}"
            )
        check_is_fitted(estimator)
        results = estimator.results_
        if criterion is None:
            criterion = estimator.criterion if isinstance(estimator.criterion, str) else "criterion"
        if criterion not in ("criterion", "bic", "aic", "icl", "log_likelihood"):
            raise ValueError(f"no such criterion: {criterion!r}")
        if any("n_components" not in parameters for parameters in results["params"]):
            raise ValueError("the search has not varied 'n_components'")
        lines: dict[str, list[tuple[int, float]]] = {}
        for parameters, value in zip(results["params"], results[criterion], strict=True):
            others = {name: v for name, v in parameters.items() if name != "n_components"}
            lines.setdefault(_label(others), []).append((parameters["n_components"], value))
        columns = {
            name: tuple(np.array(column) for column in zip(*sorted(points), strict=True))
            for name, points in lines.items()
        }
        i = estimator.best_index_
        best = results["params"][i]["n_components"], float(results[criterion][i])
        return cls(columns, criterion, best).plot(ax, **options)

    def plot(self, ax: Any = None, **options: Any) -> "CriterionDisplay":
        """Draw the lines; combinations that failed are gaps.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        **options
            Keywords for matplotlib's ``plot``.

        Returns
        -------
        self : CriterionDisplay
        """
        ax = self._begin(ax)
        names = {"criterion": "criterion", "log_likelihood": "log-likelihood"}
        plot_lines(
            ax,
            [(*points, {"label": label or None}) for label, points in self.lines.items()],
            options,
            xlabel="number of components",
            ylabel=names.get(self.criterion, self.criterion.upper()),
        )
        ring = {"marker": "o", "s": 120, "facecolors": "none", "edgecolors": "black", "zorder": 3}
        ax.scatter(*self.best, label="the best", **ring)
        ax.legend()
        return self


def _label(parameters):
    """Just the value if it is a covariance type alone."""
    if set(parameters) == {"covariance_type"}:
        return parameters["covariance_type"]
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
