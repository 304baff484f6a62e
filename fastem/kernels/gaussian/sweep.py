"""Passes over a part's rows with packed components of any kind, and what they need of a kernel.

And iterations of such, whose M-steps are compiled: those in NumPy, and packing of what they find,
took 0.2 to 0.7 ms, in which all cores but one wait. That was 2 to 9 % of an iteration over 500,000
rows of 2 features, or 100,000 of 32.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from fastem.kernels.gaussian.base import (
    LOWEST,
    GaussianStatistics,
    Iterated,
    Rules,
    relative_noise,
)
from fastem.kernels.gaussian.driver import em_pass, evaluate_pass
from fastem.kernels.gaussian.skip.driver import skipping_pass
from fastem.kernels.gaussian.skip.visiting import Visitor
from fastem.kernels.runtime.arrays import as_weights, read_only, unless_ones, wanted
from fastem.kernels.runtime.chunks import row_chunks, summing_chunks
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES

# What a batch of tiles may take of a core's cache, in bytes, its fewest tiles (each batch adds to
# all totals: with batches of one tile 128 features took 3 % longer), and its most.
_BATCH_BYTES, _FEWEST_TILES, _MOST_TILES = 1 << 18, 2, 8

#: For rows without labels.
NO_LABELS = read_only(np.empty(0, np.int32))


class Kernel(ABC):
    """How one kind of kernel packs components, lays out totals, and bounds what moves."""

    @abstractmethod
    def work(self, n_features):
        """Multiplications for a row and a component."""

    @abstractmethod
    def size_of_totals(self, n_components, n_features):
        """Values that the totals of all components take."""

    @abstractmethod
    def scratch_size(self, n_features, n_tiles):
        """Values that the kernels need beside a batch of tiles."""

    @abstractmethod
    def peaks(self, components):
        """The log-densities at the means, weights included."""

    @abstractmethod
    def movement(self, old, new):
        """Bounds on what becomes of Mahalanobis distances from one pass's components to the next.

        Parameters
        ----------
        old, new : GaussianComponents

        Returns
        -------
        shrink, drift : ndarray of shape (n_components,)
            No row is nearer than ``shrink`` times its old distance, minus ``drift``.
        """

    @abstractmethod
    def unpack(self, totals, n_components, n_features):
        """Counts, sums and scatter from the layout of the totals."""


def split(points, dtype):
    """Points as a dtype holds them, and the remainders."""
    parts = np.empty((2, *np.shape(points)), dtype)
    parts[0] = points
    np.subtract(points, parts[0], out=parts[1], casting="same_kind")
    return parts


@inline
def split_into(points, parts):
    """As :func:`split`, of points in two dimensions, into an array."""
    for j in range(points.shape[0]):
        for f in range(points.shape[1]):
            parts[0, j, f] = points[j, f]
            parts[1, j, f] = points[j, f] - np.float64(parts[0, j, f])


class Sweep:
    """The rows of one part, and how they are swept over.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    kernel : Kernel

    Attributes
    ----------
    rows, weight : ndarray
        As the kernels take them.
    chunk_rows, n_chunks, batch, totals_size, scratch_size : int
        As the kernels take them.
    visitor : Visitor
    """

    def __init__(self, X, sample_weight, n_components, kernel):
        self._kernel = kernel
        n_features = X.shape[1]
        self.rows = read_only(X)
        self.weight = as_weights(unless_ones(sample_weight))
        self.n_components = n_components
        self.totals_size = kernel.size_of_totals(n_components, n_features)
        work = n_components * kernel.work(n_features)
        self.chunk_rows, self.n_chunks = summing_chunks(X, work, self.totals_size)
        tile_bytes = 64 * X.itemsize * (n_features + n_components)
        self.batch = min(max(_BATCH_BYTES // tile_bytes, _FEWEST_TILES), _MOST_TILES)
        self.scratch_size = kernel.scratch_size(n_features, self.batch)
        mean_weight = 1.0 if sample_weight is None else float(np.mean(sample_weight))
        self.visitor = Visitor(X, n_components, kernel.work(n_features), mean_weight)

    @property
    def n_features(self):
        return self.rows.shape[1]

    @property
    def dtype(self):
        return self.rows.dtype

    def e_step(self, components, packed, centers, hard, skip):
        """Statistics about the centres; parameters as for ``GaussianPass.e_step``."""
        if skip and self.visitor.skips:
            return self.skip(components, packed, centers, hard)
        noise = self._noise(components, packed)
        totals, objective, counted = self._pass_over_all(packed, centers, noise, hard=hard)
        self.visitor.learn_from_all(counted)
        return self.statistics(totals, objective, packed)

    def skip(self, components, packed, centers, hard):
        """The same, without components where their share is negligible."""
        visit = self.visitor.plan(components, self._kernel.peaks(components), self._kernel.movement)
        noise, shift = self._noise(components, packed), self._shift(packed)
        found = self._pass(skipping_pass, packed, centers, shift, hard, noise, visit)
        totals, objective, counted = found
        self.visitor.learn(counted)
        return self.statistics(totals, objective, packed)

    def from_labels(self, labels, packed, centers):
        """The statistics of rows that belong to one component each."""
        totals, _, _ = self._pass_over_all(packed, centers, self.dtype.type(-np.inf), labels)
        return GaussianStatistics(0.0, *self._unpack(totals))

    def evaluate(self, components, packed, **outputs):
        """As ``GaussianPass.evaluate``, of packed components."""
        far = np.zeros(len(self.rows), np.bool_)
        work = self.n_components * self._kernel.work(self.n_features)
        chunk_rows, n_chunks = row_chunks(len(self.rows), work)
        run(
            evaluate_pass,
            n_chunks,
            chunk_rows,
            self._kernel.scratch_size(self.n_features, 1),
            self.n_components,
            self.rows,
            self._shift(packed),
            packed,
            self._noise(components, packed),
            self.dtype.type(LOWEST[self.dtype]),
            far,
            wanted(**outputs, dtype=self.dtype),
        )
        return far

    def statistics(self, totals, objective, packed):
        """The statistics of what a pass has summed up."""
        log_density, weight, noise = objective
        log_density += packed.reference * weight
        return GaussianStatistics(log_density, *self._unpack(totals), float(noise))

    def _unpack(self, totals):
        return self._kernel.unpack(totals, self.n_components, self.n_features)

    def _noise(self, components, packed):
        """The noise as the passes take it."""
        return relative_noise(components.log_noise, packed, self.dtype)

    def _pass_over_all(self, packed, centers, noise, labels=(), hard=False):
        labels = read_only(np.ascontiguousarray(labels, np.int32))
        numbers = np.arange(max(self.n_components, self.batch))
        return self._pass(em_pass, packed, centers, labels, hard, noise, numbers)

    def _pass(self, body, packed, centers, *options):
        """The sums of a pass' totals, and of what else it finds."""
        totals = np.empty((self.n_chunks, self.totals_size))
        objective = np.zeros((self.n_chunks, 3))
        counted = np.zeros((self.n_chunks, 2), np.int64)
        run(
            body,
            self.n_chunks,
            self.chunk_rows,
            self.batch,
            self.scratch_size,
            self.rows,
            self.weight,
            packed,
            split(centers, self.dtype),
            *options,
            totals,
            objective,
            counted,
        )
        if self.n_chunks == 1:  # few rows, where three sums take as long as a pass
            return totals[0], objective[0], counted[0]
        return totals.sum(axis=0), objective.sum(axis=0), counted.sum(axis=0)

    def _shift(self, packed):
        """What rows are shifted by, and as many zeros as a vector has lanes."""
        if hasattr(packed, "shift"):
            return packed.shift
        return read_only(np.zeros(self.n_features + LANES, self.dtype))


class Steps(ABC):
    """Iterations over the rows of a sweep, one at a time.

    Parameters
    ----------
    sweep : Sweep
    parameters : sequence of ndarray
        What the first begins with: weights, means, covariances and factors of the precisions.
    hard : bool
    rules : Rules

    Attributes
    ----------
    parameters, updated : list of ndarray
        What the next iteration begins with, and what it writes to.
    """

    def __init__(self, sweep: Sweep, parameters: Sequence[np.ndarray], hard: bool, rules: Rules):
        self.sweep = sweep
        self.hard = hard
        self.rules = rules
        self.parameters = [np.array(values, order="C") for values in parameters]
        self.updated = [np.empty_like(values) for values in self.parameters]
        self.objective = np.empty((sweep.n_chunks, 3))
        self.counted = np.zeros((sweep.n_chunks, 2), np.int64)

    def iterate(self) -> Iterated | None:
        """Iterations until they have settled, or something else is to be done.

        Returns
        -------
        Iterated or None
            None where there can be none. They also end where passes begin to skip, or where one
            can't be as here.
        """
        rules, before = self.rules, self.rules.before
        history: list[float] = []
        while len(history) < rules.most and not self.sweep.visitor.skips:
            log_density = self.take()
            if log_density is None:
                break
            value = float(log_density / rules.total_weight)
            history.append(value)
            self.parameters, self.updated = self.updated, self.parameters
            gain, before = value - before, value
            if -rules.fall < gain < rules.tol:
                break
        if not history:
            return None
        weights, means, covariances, factors = self.parameters
        return Iterated(weights, means, covariances, factors, self.statistics(), history)

    @abstractmethod
    def take(self) -> float | None:
        """An E-step and an M-step, which writes the updated parameters.

        Returns
        -------
        log_density : float or None
            That of all rows; None where this can't be, and what is written means nothing.
        """

    @abstractmethod
    def statistics(self) -> GaussianStatistics:
        """What the last E-step has found."""

    def learn(self) -> None:
        """Take note of what a pass has counted."""
        self.sweep.visitor.learn_from_all(self.counted.sum(axis=0))


@inline
def add_up(chunks):
    """Add all rows to the first."""
    for chunk in range(1, len(chunks)):
        for i in range(chunks.shape[1]):
            chunks[0, i] += chunks[chunk, i]
