"""What K-means and K-medians share around their algorithms: steps, restarts, reports, checks."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _is_arraylike_not_scalar

from fastem import em

STRICT = "strict convergence"

_LABEL_BLOCK = 1 << 12


# The steps that run where the rows are.


def assign(part, algorithm, n_clusters, frame, centers):
    """The statistics of a part's rows after they are assigned to the nearest centres."""
    if "clustering" not in part.state:
        part.state["clustering"] = algorithm(part.X, part.sample_weight, n_clusters, frame)
    return part.state["clustering"].assign(centers)


def inertia_of(part, centers):
    """The inertia of a part's rows with the labels that they have."""
    return part.state["clustering"].inertia(centers)


def labels_of(part):
    """The labels that were kept."""
    return part.state["labels"]


def begin(part):
    """Forget the run before."""
    part.state.pop("clustering", None)


def _keep(part):
    part.state["labels"] = part.state.pop("clustering").labels


def _permutation(part, n_clusters):
    """The best run's label for each label of this run, -1 for none; None if not unique."""
    best, labels = part.state["labels"], part.state["clustering"].labels
    mapping = np.full(n_clusters, -1, np.int32)
    mapping[labels] = best
    return mapping if np.array_equal(mapping[labels], best) else None


class Clustering(em.Model):
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
    """

    warns = False

    def __init__(self, start, n_clusters, algorithm, frame, dtype, tol):
        self._start = start
        self.n_clusters = n_clusters
        self.algorithm = algorithm
        self.frame = frame
        self.dtype = dtype
        self.tol = tol

    def _rounded(self, centers):
        # The kernels get exactly the centres that a model of the data's dtype can have.
        return centers if self.dtype == np.float64 else centers.astype(self.dtype).astype(float)

    def start(self, rows, random_state):
        rows.map(begin)
        return self._rounded(self._start(rows, self.n_clusters, self.frame, random_state))

    def e_step(self, rows, parameters):
        return rows.reduce(assign, self.algorithm, self.n_clusters, self.frame, parameters)

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

    def keep(self, rows):
        rows.map(_keep)

    def report_start(self, number):
        print("Initialization complete")

    def report(self, step):
        print(f"Iteration {step.number}, inertia {step.objective}.")

    def report_end(self, run):
        if run.converged:
            print(f"Converged at iteration {run.n_iter - 1}: {run.converged}.")


def check_n_init(estimator: Any) -> int:
    """Number of runs of an estimator with the parameters ``init`` and ``n_init``.

    Warns
    -----
    RuntimeWarning
        If several runs are asked for that would all start from the same centres.
    """
    given = _is_arraylike_not_scalar(estimator.init)
    if estimator.n_init == "auto":
        once = given or (isinstance(estimator.init, str) and estimator.init.startswith("k-means"))
        return 1 if once else 10
    if given and estimator.n_init != 1:
        warnings.warn(
            "Explicit initial center position passed: performing only"
            f" one init in {estimator.__class__.__name__} instead of "
            f"n_init={estimator.n_init}.",
            RuntimeWarning,
            stacklevel=5,
        )
        return 1
    return estimator.n_init


def warn_if_indistinct(labels: np.ndarray, n_clusters: int) -> None:
    """Say so if fewer labels occur than asked for, in scikit-learn's words."""
    seen = np.zeros(n_clusters, bool)
    # A few of the rows usually have them all.
    for start in range(0, len(labels), _LABEL_BLOCK):
        seen[labels[start : start + _LABEL_BLOCK]] = True
        if seen.all():
            return
    warnings.warn(
        f"Number of distinct clusters ({np.count_nonzero(seen)}) found smaller than "
        f"n_clusters ({n_clusters}). Possibly due to duplicate points in X.",
        ConvergenceWarning,
        stacklevel=5,
    )
