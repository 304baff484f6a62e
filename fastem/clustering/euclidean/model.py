"""K-means as the loop has it: assignments, means, and what is known from one to the next."""

import math
import weakref
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import numpy as np

from fastem.clustering.euclidean.empty import relocate
from fastem.clustering.euclidean.in_place import InPlace, writes_in_place
from fastem.clustering.euclidean.inertia import (
    MOST_CANCELLED,
    MOST_CANCELLED_IN_HISTORY,
    ROUNDING,
)
from fastem.clustering.model import Clustering, inertia_of, same
from fastem.clustering.seeding import Called, Given
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import centers as kernels
from fastem.kernels.runtime.ahead import compiled_ahead
from fastem.loop.reused import Reused
from fastem.rows import LocalRows


class Clusters(NamedTuple):
    """What K-means knows after an assignment.

    Parameters
    ----------
    sums, weights, n_changed
        As in :class:`fastem.kernels.kmeans.KMeansStatistics`; no sums where means are written in
        place.
    inertia : float
    changed : bool array of n_clusters values, or of none
        For which clusters the centres aren't the means; any if there are none.
    shares : float64 array of n_clusters values, or of none
        The clusters' shares of the inertia, if they are kept.
    """

    sums: np.ndarray
    weights: np.ndarray
    n_changed: int
    inertia: float
    changed: np.ndarray
    shares: np.ndarray


class Means(NamedTuple):
    """What is known of the means that the last M-step has made, until the next assignment.

    Parameters
    ----------
    means : weak reference to ndarray
    changed : bool array of n_clusters values, or of none
        Which of them may differ from the centres before.
    shares : float64 array
        As in :class:`Clusters`, as long as no row moves.
    """

    means: weakref.ref
    changed: np.ndarray
    shares: np.ndarray


class KMeansModel(Clustering):
    """K-means as EM: hard assignments, the clusters' means, the sum of squared distances.

    Parameters
    ----------
    start, n_clusters, frame, dtype, factor
        As for :class:`fastem.clustering.model.Clustering`.
    algorithm : class
        One of ``fastem.kernels.kmeans.ALGORITHMS``' values.
    tol : float
        Centres whose squared shifts sum to no more have converged.
    squares : float
        Weighted sum of the rows' squared distances from the frame's origin.
    """

    def __init__(self, start, n_clusters, algorithm, frame, dtype, tol, squares, factor=1.0):
        super().__init__(start, n_clusters, algorithm, frame, dtype, tol, factor)
        self.squares = squares
        # Of one Means at most; copies have the same list, as they share the rows' assignments.
        self._made = []

    def begin(self, rows):
        self._least = math.inf, None  # the least inertia so far, and its centres
        self._arrays = Reused()
        # What the M-step has made of the last assignment's sums; whether the rows of the assignment
        # under way are the same.
        self._made.clear()
        self._settled = False
        self._in_place = None
        super().begin(rows)

    def start(self, rows, random_state):
        with self._compiled_ahead(rows):
            return super().start(rows, random_state)

    def _begun(self, rows, centers):
        unscaled = self.factor == 1.0
        if self.unseen and unscaled and writes_in_place(rows, self.algorithm, self.n_clusters):
            self._in_place = InPlace(rows, self.frame, self.squares, centers)
            return self._in_place.centers
        centers = super()._begun(rows, centers)
        self._arrays.lend(centers)
        return centers

    def iterated(self, rows, parameters, most, previous):
        if self._in_place is None or self._in_place.centers is not parameters:
            return None
        history, n_changed = [], -1
        while len(history) < most and n_changed != 0:
            found = self._in_place.step()
            if found is None:
                return self._relocated(rows, history)
            n_changed, inertia, self._moved = found
            history.append(inertia)
            if self._moved <= self.tol:
                break
        statistics = Clusters(
            kernels.NONE, self._in_place.weights, n_changed, history[-1], kernels.ALL, kernels.NONE
        )
        return parameters, statistics, history

    def _relocated(self, rows, history):
        """As ``iterated`` returns it, after an iteration that finds clusters empty.

        What goes on is in other arrays: the sums are needed.
        """
        centers = self._in_place.leave()
        self._in_place = None
        statistics = self.e_step(rows, centers)
        return (
            self.m_step(rows, statistics, centers),
            statistics,
            [*history, self.objective(statistics, centers)],
        )

    def _compiled_ahead(self, rows):
        """A context that ends once the iterations' kernels are compiled; a start takes others."""
        algorithm, dtype = self.algorithm, self.dtype
        # A user's function may fork, and the child would wait for a thread that it doesn't have.
        users = isinstance(self._start, (Called, Given))
        if users or not algorithm.kernels or not isinstance(rows, LocalRows):
            return nullcontext()
        of_rows = (partial(rehearse, algorithm, dtype) for rehearse in (_passes, _sums))
        return compiled_ahead(*algorithm.kernels, *of_rows, _inertia, _means)

    def e_step(self, rows, parameters):
        known = self._known_of(parameters)
        moved = None if known is None or not len(known.changed) else known.changed
        sums, weights, n_changed, changed = super().e_step(rows, parameters, moved)
        self._settled = n_changed == 0 and known is not None
        shares = np.empty(len(weights)) if kernels.knows_shares(sums.shape[1]) else kernels.NONE
        if known is None or not len(shares):
            changed = kernels.ALL
        else:
            shares = known.shares
        change = kernels.inertia_change(
            sums, weights, parameters, self.frame.origin, changed, shares
        )
        inertia = self.squares + change
        if inertia * MOST_CANCELLED_IN_HISTORY < self.squares:
            inertia = rows.reduce(inertia_of, parameters)
        if inertia < self._least[0]:
            self._least = inertia, parameters
        return Clusters(sums, weights, n_changed, inertia, changed, shares)

    def _known_of(self, parameters):
        """What is known of these parameters, once; None if they aren't the last means."""
        known = self._made.pop() if self._made else None
        return known if known is not None and known.means() is parameters else None

    def m_step(self, rows, statistics, parameters):
        sums, weights, changed = statistics.sums, statistics.weights, statistics.changed
        if self._settled:  # which spares a pass over arrays that may be larger than all rows
            self._moved = 0.0
            return parameters
        filled = np.count_nonzero(weights) == len(weights)
        if not filled:
            sums, weights = relocate(rows, sums, weights, parameters, self.frame.origin, self.dtype)
            changed = kernels.ALL
        means = self._arrays.empty(sums.shape)
        # As in scikit-learn a cluster that is still empty gets the heaviest one's mean, except that
        # there those before the heaviest get its sum, which may lie far from all rows.
        self._moved = kernels.average(
            sums,
            weights,
            self.frame.origin,
            self.dtype,
            self.factor,
            parameters,
            means,
            changed,
            statistics.shares,
        )
        if filled:
            self._made[:] = [Means(weakref.ref(means), changed, statistics.shares)]
        return means

    def objective(self, statistics, parameters):
        return statistics.inertia

    def _shift(self, before, after):
        return self._moved

    def finish(self, rows, run):
        if self._in_place is not None:
            run.objective = self._in_place.finish()
            return
        if not same(run.parameters, self._assigned):
            run.statistics = self.e_step(rows, run.parameters)
        least, centers = self._least
        if run.statistics.inertia > least * (1 + ROUNDING):
            # Centres rounded to the data's dtype may be worse than those before.
            run.parameters = centers
            run.statistics = self.e_step(rows, centers)
        run.objective = run.statistics.inertia
        if run.objective * MOST_CANCELLED < self.squares:
            run.objective = rows.reduce(inertia_of, run.parameters)


# An iteration's kernels, called for some rows.

_CENTERS, _WEIGHTS, _FRAME = np.zeros((3, 3)), np.ones(3), Frame(np.zeros(3), 1.0)


def _some_rows(algorithm, dtype):
    return algorithm(np.zeros((256, 3), dtype), None, len(_CENTERS), _FRAME)


def _passes(algorithm, dtype):
    rows = _some_rows(algorithm, dtype)
    for _ in range(2):
        rows.label_rows(_CENTERS)


def _sums(algorithm, dtype):
    rows = _some_rows(algorithm, dtype)
    rows.statistics(_CENTERS)


def _inertia():
    kernels.inertia_change(_CENTERS, _WEIGHTS, _CENTERS, _FRAME.origin)


def _means():
    means = np.empty_like(_CENTERS)
    kernels.average(_CENTERS, _WEIGHTS, _FRAME.origin, means.dtype, 1.0, _CENTERS, means)
