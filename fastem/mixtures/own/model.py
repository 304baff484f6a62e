"""The mixture of a user's own components as the loop sees it: start, E-step, M-step."""

import inspect

import numpy as np

from fastem.kernels.distances.nearest_row import nearest
from fastem.mixtures.model import MixtureModel, pass_of
from fastem.mixtures.own.parameters import OwnParameters, as_tuple, check_arrays, like
from fastem.mixtures.starts import Starts, take_clusters

# Numbers in a block of (rows, components) that exists at a time.
_BLOCK_SIZE = 1 << 18


class OwnModel(MixtureModel):
    """A user's mixture for the EM loop.

    Parameters
    ----------
    mixture : fastem.em.Mixture
        Has what the user wrote, and the estimator's parameters.
    given : tuple
        Weights and parameters to start from; None for those of the start.
    *args, **options
        As for :class:`fastem.mixtures.model.MixtureModel`.
    """

    def __init__(self, mixture, *args, given, **options):
        super().__init__(*args, **options)
        self.mixture = mixture
        self.given = given
        self._takes_previous = "previous" in inspect.signature(mixture.m_step).parameters

    def components(self, parameters):
        return parameters.components(self.mixture.arguments)

    def arrays(self, parameters):
        return list(as_tuple(parameters.own))

    def replaced(self, parameters, weights, arrays):
        return OwnParameters(weights, like(parameters.own, arrays))

    def first(self, rows, random_state):
        weights, own = self.given
        counts = None
        if own is None:
            own = self.mixture.start(rows, random_state)
            if own is not None:
                own = check_arrays(own, self.mixture.n_components, "What 'start' returns")
            else:
                counts, own = self._of_clusters(rows, random_state)
        if weights is None:
            if counts is None:
                counts = np.ones(self.mixture.n_components)
            weights = counts / counts.sum()
        return OwnParameters(weights, own)

    def _of_clusters(self, rows, random_state):
        """The rows that each component starts with, and the parameters."""
        if self.mixture._functions.own_statistics:
            raise ValueError(
                "The statistics depend on the parameters, so that these can't start from clusters. "
                "Write 'start' or set parameters_init."
            )
        starts = Starts(self.mixture.n_components)
        if self.mixture.init_params == "kmeans":
            starts.kmeans(rows, random_state)
            statistics = rows.reduce(_from_labels, self.make_pass)
            starts.warn_of_duplicates(statistics.counts)
        else:
            seeds = rows.take(starts.random_rows(rows, random_state))
            statistics = rows.reduce(_nearest_seeds, self.make_pass, seeds)
        return statistics.counts, self._own(statistics, None)

    def e_step(self, rows, parameters):
        statistics = super().e_step(rows, parameters)
        if not (np.isfinite(statistics.objective) and np.isfinite(statistics.counts).all()):
            components = self.components(parameters)
            reasons = rows.map(_explain, self.make_pass, components)
            reason = next(filter(None, reasons), "the sum of the log-densities overflows.")
            raise ValueError(f"Fitting the mixture model failed because {reason}")
        return statistics

    def m_step(self, rows, statistics, parameters):
        weights, own = parameters
        if "weights" not in self.mixture.fixed:
            weights = statistics.counts / statistics.counts.sum()
        if "parameters" not in self.mixture.fixed:
            own = _keep_empty(statistics.counts, self._own(statistics, own), own)
        return OwnParameters(weights, own)

    def _own(self, statistics, previous):
        """What the user's M-step makes of statistics."""
        counts, sums = statistics.counts / self.row_unit, statistics.sums / self.row_unit
        known = {"previous": previous} if self._takes_previous else {}
        with np.errstate(divide="ignore", invalid="ignore"):
            own = self.mixture.m_step(counts, sums, **known)
        return check_arrays(own, len(statistics.counts), "What 'm_step' returns")


def _keep_empty(counts, own, previous):
    """The parameters; of components without rows, those before."""
    new, old = as_tuple(own), as_tuple(previous)
    shapes, expected = ([array.shape for array in arrays] for arrays in (new, old))
    if shapes != expected:
        raise ValueError(
            f"What 'm_step' returns should have the shapes {expected} of the parameters that "
            f"the fit started from, but got {shapes}"
        )
    arrays = []
    for array, before in zip(new, old, strict=True):
        empty = (counts == 0).reshape(-1, *[1] * (array.ndim - 1))
        arrays.append(np.where(empty, before, array))
    return like(own, arrays)


# The steps that run where the rows are.


def _from_labels(part, make_pass):
    return pass_of(part, make_pass).from_labels(take_clusters(part))


def _nearest_seeds(part, make_pass, seeds):
    return pass_of(part, make_pass).from_labels(nearest(part.X, seeds)[0])


def _explain(part, make_pass, components):
    """What is wrong with the first row whose log-density is no number, or None."""
    n_components = len(components.log_weights)
    size = max(1, _BLOCK_SIZE // n_components)
    for start in range(0, part.n_rows, size):
        block = slice(start, start + size)
        X = part.X[block]
        log_joint = np.empty((len(X), n_components))
        make_pass(X, None).evaluate(components, log_joint=log_joint)
        counts = np.ones(len(X), bool)
        if part.sample_weight is not None:
            counts = part.sample_weight[block] > 0
        wrong = np.isnan(log_joint) | (log_joint == np.inf)
        impossible = counts & (log_joint == -np.inf).all(axis=1)
        found = np.flatnonzero(wrong.any(axis=1) | impossible)
        if len(found):
            row = found[0]
            where = f"row {part.offset + start + row}"
            if impossible[row]:
                return f"{where} is impossible under every component: its log-density is -inf."
            component = int(np.argmax(wrong[row]))
            value = log_joint[row, component]
            return f"the log-density of {where} under component {component} is {value}."
    return None
