"""The Gaussian mixture as the loop sees it: its start and its M-step."""

import math
from copy import deepcopy

import numpy as np

from fastem.kernels.gaussian.base import Rules
from fastem.mixtures.gaussian.collapse import check_collapse
from fastem.mixtures.gaussian.covariances import CollapsedError
from fastem.mixtures.gaussian.few.splits import splits
from fastem.mixtures.gaussian.noise import START_WEIGHT
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.model import MixtureModel, pass_of
from fastem.rows import LocalRows

# Keeps the counts of empty components from zero; a multiple of the rows' mean weight.
_LEAST_COUNT = 10 * np.finfo(np.float64).eps
# A pass is repeated about the new means if its scatter is more than this many times what is left of
# it; in float32 the scatter has fewer digits to lose.
_MOST_CANCELLATION = {np.dtype(np.float64): 1e3, np.dtype(np.float32): 10.0}

# What ``init_params="auto"`` chooses from after a few iterations. The report's table of starts
# shows what each of them comes to.
_CANDIDATES = ("kmeans", "ward", "pooled")
# After five, what is ahead may still end behind.
_SHORT_RUN = 20
# A short run ends that is farther behind than so many times what its last iteration gained.
_HOPELESS = 6.0


def _iterate(part, make_pass, slot, options):
    return pass_of(part, make_pass, slot).iterate(*options)


def _advance(part, make_pass, slot, options):
    return pass_of(part, make_pass, slot).advance(*options)


def _breathe(part, make_pass, slot, options):
    return pass_of(part, make_pass, slot).breathe(*options)


class GaussianModel(MixtureModel):
    """A Gaussian mixture for the EM loop.

    Parameters
    ----------
    starts : GaussianStarts
    init_params : str
        Which of them.
    given : tuple
        Weights, means and precisions that the user gave for the start; None for those of the start.
    covariances : Covariances
    reg_covar : float
    find_noise : callable or None
        Rows to a Noise whose weight doesn't count.
    make_prior : callable or None
        Rows to a ConjugatePrior; the objective is then the log-posterior, up to a constant.
    fixed : collection of str
    *args, **options
        As for :class:`fastem.mixtures.model.MixtureModel`.
    """

    #: Whether a pass may leave out components whose share of a tile of rows is negligible.
    skip = True

    def __init__(
        self,
        *args,
        starts,
        init_params,
        given,
        covariances,
        reg_covar,
        find_noise=None,
        make_prior=None,
        fixed=(),
        **options,
    ):
        super().__init__(*args, **options)
        self.starts = starts
        self.init_params = init_params
        self.given = given
        self.covariances = covariances
        self.reg_covar = reg_covar
        self.find_noise = find_noise
        self.noise = None
        self.make_prior = make_prior
        self.prior = None
        self.fixed = fixed
        #: From what a pass returns, and what a row counts, to the M-step's statistics.
        self.completed = None

    def components(self, parameters):
        return parameters.components()

    def arrays(self, parameters):
        if self.covariances.tied:
            return [parameters.means]
        return [parameters.means, parameters.covariances, parameters.precisions_cholesky]

    def replaced(self, parameters, weights, arrays):
        fields = ("means", "covariances", "precisions_cholesky")
        return parameters._replace(weights=weights, **dict(zip(fields, arrays, strict=False)))

    def alone(self, parameters):
        return parameters._replace(noise=None)

    @property
    def n_others(self):
        return int(self.noise is not None)

    def sampled(self, n_components, total_weight):
        other = super().sampled(n_components, total_weight)
        if self.covariances.tied:  # all components know it better than two
            other.fixed = ("covariances",)
        return other

    def e_step(self, rows, parameters, **options):
        statistics = super().e_step(rows, parameters, skip=self.skip, **options)
        if self.completed is None:
            return statistics
        return self.completed(statistics, self.total_weight / rows.n_rows)

    def settled(self, rows, parameters, until):
        if not self._in_one_call(rows, parameters):
            return None
        return self._at_once(_iterate, rows, parameters, until)

    def advanced(self, rows, parameters, until):
        if not (self._simple and self._at_home(rows, parameters)):
            return None
        return self._at_once(_advance, rows, parameters, until)

    def _at_once(self, step, rows, parameters, until):
        options = parameters[:4], self.hard, self._rules_of_all(until, rows)
        found = rows.reduce(step, self.make_pass, self._slot, options)
        if found is None:
            return None
        *values, statistics, history = found
        return GaussianParameters(*values), statistics, history

    def breathed(self, rows, sample, parameters, untils):
        # Of a sample, what is missed least is judged on some rows only.
        if not self._in_one_call(rows, parameters) or len(sample.weight) != rows.n_rows:
            return None
        rules = tuple(self._rules_of_all(until, rows) for until in untils)
        options = parameters[:4], sample.weight, self.hard, rules
        found = rows.reduce(_breathe, self.make_pass, self._slot, options)
        if found is None:
            return None
        (*values, statistics, history), n_iter = found
        return GaussianParameters(*values), statistics, history, n_iter

    def splits(self, sample, shares, parameters, until):
        if not (self._plain and isinstance(sample.X, np.ndarray)):
            return None
        rules = self._rules(until, sample.X.dtype, 1.0, _LEAST_COUNT)
        return splits(sample, shares, parameters, rules)

    def _in_one_call(self, rows, parameters):
        return self._plain and self._at_home(rows, parameters)

    def _at_home(self, rows, parameters):
        """Whether one pass over rows of this process is all that an E-step takes."""
        return parameters.noise is None and isinstance(rows, LocalRows) and rows.n_parts == 1

    def _rules_of_all(self, until, rows):
        return self._rules(until, rows.dtype, self.total_weight, self._least_count(rows))

    @property
    def _plain(self):
        """Whether iterations over few rows can be one call, unless there is noise."""
        return self.covariances.name == "full" and self._simple

    @property
    def _simple(self):
        """Whether the M-step is all components' own, and nothing else."""
        return (
            not self.covariances.partly_shared
            and self.reg_covar > 0
            and not self.fixed
            and self.prior is self.completed is None
        )

    def _rules(self, until, dtype, total_weight, least_count):
        numbers = (
            until.tol,
            until.fall,
            until.before,
            -math.inf if until.best is None else until.best,
            until.hopeless,
            total_weight,
            least_count,
            self.reg_covar,
            _MOST_CANCELLATION[dtype],
        )
        # Kernels are compiled for types: a user's ``tol=0`` is an integer.
        return Rules(int(until.most), *map(float, numbers))

    def start(self, rows, random_state):
        if self.make_prior is not None and self.prior is None:
            self.prior = self.make_prior(rows)
        if self.find_noise is not None and self.noise is None:
            self.noise = self.find_noise(rows)
        return self._among_noise(super().start(rows, random_state))

    def _among_noise(self, parameters):
        """The same with the noise, if there is any; it keeps a weight that it has already."""
        if self.noise is None:
            return parameters
        weights, noise = parameters.weights, parameters.noise
        if noise is not None:
            weight = noise.weight
        elif self.given[0] is not None and self.resumed is None:
            weight = 1.0 - weights.sum()  # what the weights given leave
        else:
            weight = START_WEIGHT
            weights = (1.0 - weight) / weights.sum() * weights
        return parameters._replace(weights=weights, noise=self.noise._replace(weight=weight))

    def objective(self, statistics, parameters):
        log_likelihood = super().objective(statistics, parameters)
        if self.prior is None:
            return log_likelihood
        return log_likelihood + self.prior.log_density(parameters) / self.total_weight

    def first(self, rows, random_state):
        if self.init_params == "auto" and any(parameter is None for parameter in self.given):
            return self._best_of_short_runs(rows, random_state)
        return self._first(self.init_params, rows, random_state)

    def _best_of_short_runs(self, rows, random_state):
        """Where some iterations from each candidate lead, for the one that gets the farthest."""
        if self.n_components == 1:
            return self._first("kmeans", rows, random_state)  # all start the same
        # K-means as by default; samples that are the same for any number of components, so that a
        # search's fits share what they learn of them.
        sampling = deepcopy(random_state)
        runs, best, collapse = [], -math.inf, None
        for name in _CANDIDATES:
            try:
                stream = random_state if name == "kmeans" else sampling
                parameters = self._first(name, rows, stream)
                objective = -math.inf
                for _ in range(_SHORT_RUN):
                    statistics, previous = self.e_step(rows, parameters), objective
                    objective = self.objective(statistics, parameters)
                    parameters = self.m_step(rows, statistics, parameters)
                    gain = objective - previous
                    # Where a fit would end, or too far behind.
                    if abs(gain) < self.tol or objective + _HOPELESS * gain < best:
                        break
                runs.append((objective, parameters))
                best = max(best, objective)
            except CollapsedError as error:
                collapse = error
        if collapse is not None and not runs:
            raise collapse
        return max(runs, key=lambda run: run[0])[1]

    def _first(self, init_params, rows, random_state):
        weights, means, precisions = self.given
        start = None
        if any(parameter is None for parameter in self.given):
            statistics, centers = self.starts(init_params, rows, random_state)
            divisors, delta = self._locate(rows, statistics, centers)
            if weights is None:
                # Seeds' weights don't sum to one, in scikit-learn neither; a fixed start's do.
                total = divisors.sum() if "weights" in self.fixed else self.total_weight
                weights = divisors / total
            statistics, divisors, delta = self._posterior(statistics, centers, divisors, delta)
            located = centers + delta
            del delta  # of few long rows it takes a part of their memory
            if means is None:
                means = located
            if precisions is None:
                start = self._estimate(statistics, located, centers, divisors)
        if precisions is None:
            return GaussianParameters(weights, means, start, self._factor(start, means))
        return GaussianParameters.from_precisions(weights, means, precisions, self.covariances)

    def m_step(self, rows, statistics, parameters):
        try:
            updated = self._maximize(rows, statistics, parameters.means, parameters)
            cancellation = self.covariances.cancellation(
                statistics.counts, updated.means - parameters.means, updated.precisions_cholesky
            )
            if "covariances" in self.fixed or cancellation < _MOST_CANCELLATION[rows.dtype]:
                return updated
            centers = updated.means
        except CollapsedError:
            centers = parameters.means + self._locate(rows, statistics, parameters.means)[1]
        if "means" in self.fixed:
            centers = parameters.means
        # The means moved so far that little precision is left, or the covariance has collapsed: see
        # by a pass about the new means.
        statistics = self.e_step(rows, parameters, centers=centers)
        return self._maximize(rows, statistics, centers, parameters)

    def _maximize(self, rows, statistics, centers, parameters):
        """The parameters that are most likely given statistics about the centres."""
        weights, means, covariances, factors, noise = parameters
        divisors, delta = self._locate(rows, statistics, centers)
        if "weights" not in self.fixed:
            weights, noise = self._shares(rows, statistics, divisors, parameters)
        statistics, divisors, delta = self._posterior(statistics, centers, divisors, delta)
        if "means" not in self.fixed:
            means = centers + delta
        del delta
        if "covariances" not in self.fixed:
            covariances = self._estimate(statistics, means, centers, divisors, covariances)
            factors = self._factor(covariances, means)
        if not np.isfinite(means).all():
            raise CollapsedError(f"component {np.argwhere(~np.isfinite(means))[0, 0]}")
        return GaussianParameters(weights, means, covariances, factors, noise)

    def _shares(self, rows, statistics, divisors, parameters):
        """The weights of components and noise."""
        if parameters.noise is not None:
            divisors = np.append(divisors, statistics.noise + self._least_count(rows))
        return parameters.divided(divisors / divisors.sum())

    def _factor(self, covariances, means):
        factors = self.covariances.factor(covariances)
        if self.reg_covar == 0:
            check_collapse(self.covariances, covariances, factors, means)
        return factors

    def _locate(self, rows, statistics, centers):
        """The counts to divide by, and the means' differences from the centres."""
        least = self._least_count(rows)
        divisors = statistics.counts + least
        return divisors, (statistics.sums - least * centers) / divisors[:, np.newaxis]

    def _least_count(self, rows):
        return _LEAST_COUNT * self.total_weight / rows.n_rows

    def _posterior(self, statistics, centers, divisors, delta):
        """The same with the prior's part, if there is one."""
        if self.prior is None:
            return statistics, divisors, delta
        statistics = self.prior.joined(statistics, centers)
        delta = statistics.sums / statistics.counts[:, np.newaxis]
        return statistics, divisors + self.prior.counts, delta

    def _estimate(self, statistics, means, centers, divisors, last=None):
        _, counts, sums, scatter, _ = statistics
        return self.covariances.estimate(
            counts, sums, scatter, means, centers, divisors, self.reg_covar, last
        )
