"""The Bernoulli mixture as the loop sees it: parameters, E-step, M-step."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.bernoulli import BernoulliComponents
from fastem.mixtures.bernoulli.missing import filled_by_majority
from fastem.mixtures.bernoulli.start import start_probabilities
from fastem.mixtures.missing import check_columns, check_observed
from fastem.mixtures.model import MixtureModel

IMPOSSIBLE = (
    "under every component: each has a probability of 0 for a feature that the row has, or of 1 "
    "for one that it lacks, or no weight."
)


class BernoulliParameters(NamedTuple):
    """A Bernoulli mixture.

    Parameters
    ----------
    weights : ndarray of shape (n_components,), float64
    probabilities : ndarray of shape (n_components, n_features), float64
    """

    weights: np.ndarray
    probabilities: np.ndarray

    def components(self) -> BernoulliComponents:
        """As the passes take them."""
        return BernoulliComponents.of(self.weights, self.probabilities)


class BernoulliModel(MixtureModel):
    """A Bernoulli mixture for the EM loop.

    Parameters
    ----------
    given : tuple
        Weights and probabilities to start from; None for uniform weights and for probabilities
        from seeds.
    alpha : float
    fixed : collection of str
    *args, **options
        As for :class:`fastem.mixtures.model.MixtureModel`.
    """

    def __init__(self, *args, given, alpha, fixed, **options):
        super().__init__(*args, **options)
        self.given = given
        # Smoothing has nothing to say about probabilities that stay as they are.
        self.alpha = 0.0 if "probabilities" in fixed else alpha * self.row_unit
        self.fixed = fixed
        self.complete_pass = self.make_pass
        self._known = None
        #: The threshold of ones, if rows have gaps: passes then return what was observed, too.
        self.gaps_above = None

    def components(self, parameters):
        # For the E-step and for its objective: the logarithms take half as long as a pass over CSR
        # rows of many features.
        if self._known is None or self._known[0] is not parameters:
            self._known = parameters, parameters.components()
        return self._known[1]

    def arrays(self, parameters):
        return [parameters.probabilities]

    def replaced(self, parameters, weights, arrays):
        return BernoulliParameters(weights, *arrays)

    def halves(self, one, pair, counts):
        # As if each half had one row more, like the one: what no row of a half's sample has, and
        # no other component, would be impossible.
        share = self.row_unit / (counts[:, np.newaxis] + self.row_unit)
        return [half + share * (before - half) for before, half in zip(one, pair, strict=True)]

    def first(self, rows, random_state):
        weights, probabilities = self.given
        if weights is None:
            weights = np.full(self.n_components, 1.0 / self.n_components)
        if probabilities is None:
            if self.gaps_above is not None:
                rows = filled_by_majority(rows, self.gaps_above)
            probabilities = start_probabilities(
                rows, self.complete_pass, self.n_components, random_state
            )
        return BernoulliParameters(weights, probabilities)

    def e_step(self, rows, parameters):
        statistics = super().e_step(rows, parameters)
        if statistics.objective == -np.inf and self.alpha == 0:
            # Those components' probabilities could never change again.
            raise ValueError(
                f"Fitting the mixture model failed because some row is impossible {IMPOSSIBLE} "
                "Start from probabilities between 0 and 1, or set alpha."
            )
        if self.gaps_above is not None:
            check_columns(statistics.observed.sum(axis=0))
            if self.alpha == 0 and "probabilities" not in self.fixed:
                row = self.total_weight / rows.n_rows
                check_observed(statistics.observed, statistics.counts, row)
        return statistics

    def m_step(self, rows, statistics, parameters):
        weights, probabilities = parameters
        counts = statistics.counts
        if "weights" not in self.fixed:
            weights = counts / counts.sum()
        if "probabilities" not in self.fixed:
            sums = statistics.sums + self.alpha
            observed = counts[:, np.newaxis] if self.gaps_above is None else statistics.observed
            divisors = observed + 2.0 * self.alpha
            # A component without rows stays where it is; rounding may lead beyond 1.
            probabilities = np.divide(sums, divisors, out=probabilities.copy(), where=divisors > 0)
            np.minimum(probabilities, 1.0, out=probabilities)
        return BernoulliParameters(weights, probabilities)

    def objective(self, statistics, parameters):
        """The mean log-likelihood; with smoothing, of the posterior but for a constant."""
        objective = statistics.objective
        if self.alpha > 0:
            _, absent, present = self.components(parameters)
            objective += self.alpha * float((absent + present).sum())
        return objective / self.total_weight
