"""Passes by a linear form while that is exact enough, otherwise by an exact pass."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastem.kernels.gaussian.base import GaussianComponents, GaussianPass, GaussianStatistics
from fastem.kernels.gaussian.linear.forms import SHRUNK, LinearForm
from fastem.kernels.gaussian.linear.terms import pack_terms, sum_terms
from fastem.kernels.gaussian.sweep import Sweep


class LinearPass(GaussianPass):
    """Passes for densities that are linear in few terms.

    Parameters
    ----------
    sweep : Sweep
    form : LinearForm
    exact : GaussianPass
        What takes over where the form would lose too many digits.
    steps : None or callable
        ``steps(sweep, parameters, hard, rules, exact, variances)``: iterations whose M-steps are
        compiled, as :class:`~fastem.kernels.gaussian.linear.steps.DiagSteps`.
    """

    def __init__(
        self,
        sweep: Sweep,
        form: LinearForm,
        exact: GaussianPass,
        steps: Callable[..., Any] | None = None,
    ):
        self.sweep = sweep
        self._form = form
        self._exact = exact
        self._steps = steps
        self._variances = None  # the last step's

    def e_step(self, components, centers=None, hard=False, skip=True):
        if centers is not None or (components.noisy and not self._form.whole):
            return self._exact.e_step(components, centers, hard, skip)
        with np.errstate(all="ignore"):  # whatever comes of extremes is not finite
            skips = skip and self.sweep.visitor.skips
            step = self._skipping_step if skips else self._step_over_all
            statistics = step(components, hard)
            if statistics is None or not math.isfinite(statistics.objective):
                statistics = self._exact.e_step(components, None, hard, skips)
            self._variances = self._form.variances(statistics)
        return statistics

    def advance(self, parameters, hard, rules):
        if self._steps is None:
            return None
        steps = self._steps(self.sweep, parameters, hard, rules, self._exact, self._variances)
        iterated = steps.iterate()
        if iterated is not None:
            self._variances = steps.variances
        return iterated

    def from_labels(self, labels, centers):
        with np.errstate(all="ignore"):
            statistics = self._sum_labelled(labels, centers)
        return self._exact.from_labels(labels, centers) if statistics is None else statistics

    def evaluate(self, components, **outputs):
        with np.errstate(all="ignore"):
            packed = self._form.pack_to_evaluate(components)
        if packed is None:
            return self._exact.evaluate(components, **outputs)
        return self.sweep.evaluate(components, packed, **outputs)

    def _step_over_all(self, components, hard):
        origin = self._form.origin(components)
        packed = self._form.pack(components, origin)
        if packed is None:
            return None
        log_density, _, counts, sums, noise = sum_terms(
            self.sweep, packed, self.sweep.n_components, hard, log_noise=components.log_noise
        )
        means = components.means - origin
        objective = self._form.objective(components, packed, log_density)
        differences, scatter = self._form.about_means(counts, sums, means)
        statistics = GaussianStatistics(objective, counts, differences, scatter, noise)
        return self._with_digits(statistics, means)

    def _skipping_step(self, components, hard):
        packed = self._form.pack_to_evaluate(components)
        if packed is None:
            return None
        origin = -packed.shift[: self.sweep.n_features].astype(np.float64)
        statistics = self.sweep.skip(components, packed, components.means - origin, hard)
        completed = self._form.completed(statistics, components)
        return statistics if completed is None else self._with_digits(*completed)

    def _with_digits(self, statistics, means):
        """The statistics if they have digits enough, else None; means are from the origin."""
        # The components' variances have digits enough, hence so have new ones of their size.
        if self._variances is None:
            shrunk = np.True_
        else:
            shrunk = self._form.variances(statistics) < SHRUNK * self._variances
        counts, scatter = statistics.counts, statistics.scatter
        lost = shrunk & ~self._form.resolved(counts, means, scatter)
        return statistics if self._form.complete(counts) and not lost.any() else None

    def _sum_labelled(self, labels, centers):
        k = self.sweep.n_components
        origin = self._form.origin(GaussianComponents(np.zeros(k), centers, None))
        dtype, terms = self.sweep.dtype, self._form.terms
        packed = pack_terms(dtype, terms, origin, np.zeros((k, 1)), np.zeros(k))
        _, _, counts, sums, _ = sum_terms(self.sweep, packed, k, labels=labels)
        means = centers - origin
        differences, scatter = self._form.about_means(counts, sums, means)
        exact = self._form.complete(counts) and self._form.resolved(counts, means, scatter).all()
        return GaussianStatistics(0.0, counts, differences, scatter) if exact else None
