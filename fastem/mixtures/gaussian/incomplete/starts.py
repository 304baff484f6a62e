"""Where Gaussian mixtures of incomplete rows start."""

from typing import Any

import numpy as np

from fastem.kernels.gaussian import GaussianStatistics
from fastem.mixtures.gaussian.stacks import order
from fastem.mixtures.gaussian.starts import GaussianStarts
from fastem.mixtures.missing import Columns


class IncompleteStarts:
    """The starts of complete rows, after gaps are filled by their columns' means.

    To a component's covariance each value that was filled in counts as one with the column's
    variance about its mean, uncorrelated with the others: as if all rows were one Gaussian with
    independent features. So the start is not too narrow where much is missing.

    Parameters
    ----------
    starts : GaussianStarts
        Of complete rows.
    covariances : Covariances
    """

    def __init__(self, starts: GaussianStarts, covariances: Any):
        self._starts = starts
        self._covariances = covariances
        self._columns: Columns | None = None

    def columns(self, rows: Any) -> Columns:
        """What is known of the columns, found once."""
        if self._columns is None:
            self._columns = Columns(rows)
        return self._columns

    def __call__(
        self, init_params: str, rows: Any, random_state: np.random.RandomState
    ) -> tuple[GaussianStatistics, np.ndarray]:
        """A start of this name, as from :class:`GaussianStarts`."""
        columns = self.columns(rows)
        filled = rows.filled(columns.means)
        statistics, centers = self._starts(init_params, filled, random_state)
        lost = np.outer(statistics.counts, columns.missing * columns.variances)
        return statistics._replace(scatter=statistics.scatter + self._shaped(lost)), centers

    def _shaped(self, diagonals):
        """Scatter of each component and feature as the covariance type's scatter."""
        kind = self._covariances
        if order(kind) == 0:
            diagonals = diagonals.sum(axis=1)
        if kind.tied:
            diagonals = diagonals.sum(axis=0)
        if order(kind) == 2:
            return diagonals[..., np.newaxis] * np.eye(diagonals.shape[-1])
        return diagonals
