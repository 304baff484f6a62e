"""What the models of K-means and K-medians share: the steps where the rows are, and when to end."""

from typing import Any

import numpy as np
import scipy.sparse

from fastem.clustering.labels import LABELS, NEAREST_SEEDS
from fastem.loop.model import Model
from fastem.rows import Slot
from fastem.rows.mapped import is_mapped
from fastem.rows.reading import outgrows_memory

STRICT = "strict convergence"

# Values that are compared at a time: centres may be larger than the rows.
_BLOCK_VALUES = 1 << 18

# What a part keeps: the algorithm of the run under way.
ALGORITHM: Slot[Any] = Slot("algorithm")


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays of one shape, (n_clusters, n_features), are equal."""
    if left is right:
        return True
    step = max(1, _BLOCK_VALUES // left.shape[1])
    blocks = (slice(start, start + step) for start in range(0, len(left), step))
    return all((left[block] == right[block]).all() for block in blocks)


# The steps that run where the rows are.


def assign(part, algorithm, n_clusters, frame, centers, *known):
    """The statistics of a part's rows after they are assigned to the nearest centres."""
    return algorithm_of(part, algorithm, n_clusters, frame).assign(centers, *known)


def algorithm_of(part, algorithm, n_clusters, frame):
    """The algorithm of the run under way, which begins if there is none."""
    return part.kept(ALGORITHM, _begin, part, algorithm, n_clusters, frame)


def _begin(part, algorithm, n_clusters, frame):
    if algorithm.lean is not None and (outgrows_memory(part) or _copies_file(algorithm, part)):
        algorithm = algorithm.lean
    made = algorithm(part.X, part.sample_weight, n_clusters, frame)
    if NEAREST_SEEDS.name in part.keeps:
        # These are the first centres.
        made.begin_with(*part.kept(NEAREST_SEEDS, reads=False))
        part.drop(NEAREST_SEEDS)
    return made


def _copies_file(algorithm, part):
    return algorithm.copies and is_mapped(part.X)


def inertia_of(part, centers):
    """The inertia of a part's rows with the labels that they have."""
    return part.kept(ALGORITHM).inertia(centers)


def relabel(part, centers):
    """As :func:`assign`, for the labels only; returns the inertia."""
    algorithm = part.kept(ALGORITHM)
    algorithm.label_rows(centers)
    return algorithm.inertia(centers)


def forget_algorithm(part):
    """Forget the run before."""
    part.drop(ALGORITHM, NEAREST_SEEDS)


def _keep(part):
    part.keep(LABELS, part.kept(ALGORITHM, reads=False).labels)
    part.drop(ALGORITHM)


def _permutation(part, n_clusters):
    """The best run's label for each label of this run, -1 for none; None if not unique."""
    best, labels = part.kept(LABELS), part.kept(ALGORITHM, reads=False).labels
    mapping = np.full(n_clusters, -1, np.int32)
    mapping[labels] = best
    return mapping if np.array_equal(mapping[labels], best) else None


class Clustering(Model):
    """A model whose rows belong to one cluster each, and whose objective is to be least.

    Parameters
    ----------
    start : callable
        ``(rows, n_clusters, frame, random_state)`` to centres.
    n_clusters : int
    algorithm : class
        Of the algorithms in ``fastem.kernels``.
    frame : Frame
    dtype : dtype
        Of the data, and so of the centres.
    tol : float
        Centres that have moved by no more have converged, as ``_shift`` measures it.
    factor : float
        What the user's rows were multiplied by, a power of two.
    """

    warns = False
    #: Whether nobody sees a run's centres before it ends, neither a watcher nor a search.
    unseen = False

    def __init__(self, start, n_clusters, algorithm, frame, dtype, tol, factor=1.0):
        self._start = start
        self.n_clusters = n_clusters
        self.algorithm = algorithm
        self.frame = frame
        self.dtype = dtype
        self.tol = tol
        self.factor = factor

    def public(self, centers):
        """Centres in the user's coordinates and dtype."""
        if self.factor != 1.0:
            centers = centers / self.factor
        return centers.astype(self.dtype, copy=False)

    def rounded(self, centers):
        """Centres as the user gets them, in the rows' coordinates; rows of CSR become dense."""
        if scipy.sparse.issparse(centers):  # rows, which needn't be rounded: no copies in between
            return centers.astype(np.float64).toarray()
        # The kernels get exactly the centres that the user gets: so labels are what these predict.
        if self.dtype == np.float64 and self.factor == 1.0:
            return centers.astype(np.float64, copy=False)
        rounded = self.public(centers).astype(np.float64)
        if self.factor != 1.0:
            rounded *= self.factor
        return rounded

    def begin(self, rows):
        rows.map(forget_algorithm)

    def start(self, rows, random_state):
        return self._begun(rows, self._start(rows, self.n_clusters, self.frame, random_state))

    def _begun(self, rows, centers):
        """The parameters of a run that begins with these centres."""
        return rows.agree(self.rounded(centers))

    def e_step(self, rows, parameters, *known):
        self._assigned = parameters
        args = self.algorithm, self.n_clusters, self.frame, parameters, *known
        return rows.reduce(assign, *args)

    def _shift(self, before, after):
        """How far the centres have moved, to be compared with ``tol``."""
        raise NotImplementedError

    def converged(self, step):
        if step.number > 0 and step.statistics.n_changed == 0:
            return STRICT
        shift = self._shift(step.parameters, step.updated)
        return f"center shift {shift} within tolerance {self.tol}" if shift <= self.tol else ""

    def better(self, rows, run, best):
        # The same clustering, with its labels permuted, may be slightly better by rounding.
        return run.objective < best.objective and not self._same_clustering(rows)

    def _same_clustering(self, rows):
        mappings = rows.map(_permutation, self.n_clusters)
        if any(mapping is None for mapping in mappings):
            return False
        highest = np.max(mappings, axis=0)
        return all(((part == highest) | (part == -1)).all() for part in mappings)

    def finish(self, rows, run):
        """See that the labels go with the last centres, and find their inertia."""
        raise NotImplementedError

    def revisit(self, rows, run):
        self.begin(rows)
        self.e_step(rows, run.parameters)

    def keep(self, rows):
        rows.map(_keep)

    def report_start(self, number):
        print("Initialization complete")

    def report(self, step):
        print(f"Iteration {step.number}, inertia {step.objective}.")

    def report_end(self, run):
        if run.converged:
            print(f"Converged at iteration {run.n_iter - 1}: {run.converged}.")
