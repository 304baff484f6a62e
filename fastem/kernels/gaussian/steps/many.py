"""Iterations over many rows with matrices of the components' own."""

import math

import numpy as np

from fastem.kernels.gaussian.driver import em_pass
from fastem.kernels.gaussian.steps.maximizing import cancellation, estimate, repack
from fastem.kernels.gaussian.sweep import NO_LABELS, Steps, split
from fastem.kernels.linalg.factors import factor_inverses
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import run


@kernel
def estimate_all(totals, places, about, least_count, reg_covar, weights, means, covariances):
    """As :func:`estimate`."""
    estimate(totals, places, about, least_count, reg_covar, weights, means, covariances)


@kernel
def pack(weights, means, about, factors, packed):
    """As :func:`repack` and :func:`cancellation`."""
    peaks = aligned_array(len(means), np.float64)
    reference = repack(weights, means, factors, packed, peaks)
    return reference, cancellation(means, about, factors)


class FullSteps(Steps):
    """Iterations with matrices of the components' own.

    Parameters
    ----------
    sweep, parameters, hard, rules
        As for :class:`Steps`.
    packed : FullPacked
        For components, its triangles filled with zeros; written over.
    places : tuple
        As :func:`estimate` takes it.
    """

    def __init__(self, sweep, parameters, hard, rules, packed, places):
        super().__init__(sweep, parameters, hard, rules)
        self._packed = packed
        self._places = places
        self._numbers = np.arange(max(sweep.n_components, sweep.batch))
        self._noise = sweep.dtype.type(-np.inf)
        self._chunk_totals = np.empty((sweep.n_chunks, sweep.totals_size))
        self._totals, self._sums = np.empty(sweep.totals_size), np.empty(3)
        self._pack(self.parameters, self.parameters[1])

    def take(self):
        means, self._reference = self.parameters[1], self._next_reference
        moved = self._step(means, self._packed.means)
        log_density, weight, _ = self._sums.tolist()
        log_density += self._reference * weight
        if not math.isfinite(log_density):
            return None
        if not moved < self.rules.most_cancellation:
            about = self.updated[1].copy()
            self._pack(self.parameters, means)
            self._step(about, split(about, self.sweep.dtype))
        return log_density if self._whole else None

    def statistics(self):
        packed = self._packed._replace(reference=self._reference)
        return self.sweep.statistics(self._totals, self._sums, packed)

    def _pack(self, parameters, about):
        """Have the next pass take these; by how much they have moved, as of an M-step."""
        weights, means, _, factors = parameters
        self._next_reference, moved = pack(weights, means, about, factors, self._packed)
        return moved

    def _step(self, about, centers):
        """Statistics about centres, as they are and as the pass takes them, and the M-step.

        Returns its cancellation, infinite if a component has collapsed.
        """
        sweep = self.sweep
        run(
            em_pass,
            sweep.n_chunks,
            sweep.chunk_rows,
            sweep.batch,
            sweep.scratch_size,
            sweep.rows,
            sweep.weight,
            self._packed,
            centers,
            NO_LABELS,
            self.hard,
            self._noise,
            self._numbers,
            self._chunk_totals,
            self.objective,
            self.counted,
        )
        self.learn()
        *estimated, factors = self.updated
        np.add.reduce(self._chunk_totals, axis=0, out=self._totals)
        np.add.reduce(self.objective, axis=0, out=self._sums)
        estimate_all(
            self._totals.reshape(sweep.n_components, -1),
            self._places,
            about,
            self.rules.least_count,
            self.rules.reg_covar,
            *estimated,
        )
        _, definite = factor_inverses(estimated[2], factors)
        self._whole = definite.all()
        return self._pack(self.updated, about) if self._whole else math.inf
