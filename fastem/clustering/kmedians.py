"""K-medians: the model, and the estimator around it."""

import numpy as np

from fastem.clustering.base import BaseClustering
from fastem.clustering.manhattan.empty import farthest_rows
from fastem.clustering.manhattan.frame import frame_of_centers, measure_spread, range_factor
from fastem.clustering.manhattan.medians import JointMedians, forget_members, keep_members
from fastem.clustering.manhattan.search import make_search
from fastem.clustering.manhattan.seeding import STRATEGIES
from fastem.clustering.model import ALGORITHM, STRICT, Clustering, relabel, same
from fastem.clustering.scaling import wide_enough
from fastem.clustering.search import PACES
from fastem.kernels.distances.pairwise import manhattan
from fastem.kernels.kmedians import KMediansStatistics, Plain, choose
from fastem.rows import array_rows
from fastem.rows.checks import check_home
from fastem.validation import Words, check_rows

# The steps that run where the rows are.


def assign_apart(part, algorithm, n_clusters, frame, centers, capacity):
    """The statistics of a part's rows after they are assigned, less the medians."""
    forget_members(part)
    made = part.kept(ALGORITHM, algorithm, part.X, part.sample_weight, n_clusters, frame)
    return made.assign_apart(centers, capacity)


def list_members(part, n_clusters, width):
    """Keep a part's rows by the clusters they are assigned to."""
    return keep_members(part, part.kept(ALGORITHM).labels, n_clusters, width)


class KMediansModel(Clustering):
    """K-medians as EM: hard assignments, the clusters' medians, the sum of L1 distances."""

    def begin(self, rows):
        self._joint = JointMedians(self.n_clusters)
        super().begin(rows)

    def e_step(self, rows, parameters):
        if rows.n_parts == 1:
            return super().e_step(rows, parameters)
        self._assigned = parameters
        capacity = self._joint.capacity(rows)
        statistics = rows.reduce(
            assign_apart, self.algorithm, self.n_clusters, self.frame, parameters, capacity
        )
        medians = self._joint.find(rows, list_members, known=statistics)
        return KMediansStatistics(
            statistics.inertia, statistics.weights, statistics.n_changed, medians
        )

    def m_step(self, rows, statistics, parameters):
        updated = statistics.medians.astype(np.float64)
        empty = np.flatnonzero(statistics.weights == 0)
        if len(empty):
            moved = farthest_rows(rows, parameters, len(empty))
            # Without enough rows away from their centres, those that are left stay.
            updated[empty] = parameters[empty]
            updated[empty[: len(moved)]] = moved
        return updated

    def objective(self, statistics, parameters):
        return statistics.inertia

    def finish(self, rows, run):
        if rows.n_parts > 1:
            rows.map(forget_members)
        if same(run.parameters, self._assigned):
            run.objective = run.statistics.inertia
        else:
            run.objective = rows.reduce(relabel, run.parameters)

    def _shift(self, before, after):
        return float(np.abs(after - before).sum())

    def converged(self, step):
        reason = super().converged(step)
        # An empty cluster has got a row, which is not assigned to it yet.
        if reason == STRICT and not same(step.parameters, step.updated):
            return ""
        return reason


class KMedians(BaseClustering):
    """K-medians clustering: K-means with the L1 distance, and medians as the clusters' centres.

    Outliers pull a mean along, but hardly a median.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, and so of centres.

    init : {'k-means++', 'random', 'random_partition', 'k-means||'}, callable or array-like of \
            shape (n_clusters, n_features), default='k-means++'
        Where the centres start.

        - ``'k-means++'``: rows drawn with probabilities proportional to their L1 distance from the
          rows drawn before, the best of several at each step. Up to 100 rows are sorted first, so
          that neither their order matters nor whether a row is repeated or has an integer weight.
        - ``'random'``: rows drawn at random.
        - ``'random_partition'``: the medians of clusters into which the rows are put at random.
        - ``'k-means||'``: a few rounds that draw many rows each, by L1 distance, which are then
          reduced to ``n_clusters`` by k-means++. Taken of itself, with two rounds, for
          ``'k-means++'`` on rows larger than the memory.
        - an array: the centres themselves.
        - a callable: called as ``init(X, n_clusters, random_state=random_state)`` with the data
          as they are; returns the centres.

    n_init : 'auto' or int, default='auto'
        Number of runs from different starts; the one of least inertia is kept. ``'auto'`` is 10 for
        ``'random'``, ``'random_partition'`` and a callable, otherwise 1.

    max_iter : int, default=300
        Largest number of iterations of a run, not counting a search's.

    tol : float, default=1e-4
        A run ends when no label changes. It also ends when the L1 lengths of its centres' shifts
        sum to no more than this, relative to the rows' spread: the mean over the features of the
        L1 distance between the middle of up to 1024 rows evenly spaced and the median one of these.

    verbose : int, default=0
        Whether to print each iteration, and what each step of a search has led to.

    random_state : int, RandomState instance or None, default=None
        Determines the start.

    search : {'breathing', 'patient-breathing'} or None, default=None
        How each run goes on once it has ended, to leave its local optimum: clusters that gain most
        by it are split, centres that cost least are removed, the iterations settle after either,
        and what is better is kept. ``'breathing'`` takes the time of a few runs and, from some
        seven clusters on, usually ends lower than ten from other starts; ``'patient-breathing'``
        takes some four times as long and usually ends a little lower. The inertia is never
        worse than without. See :doc:`/better-optima`.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The clusters' coordinate-wise medians, in the data's dtype (float32 or float64). The median
        of an even number of rows is the mean of the middle two; with weights it is the least value
        up to which half of the weight lies, or its mean with the next one if exactly half does.

    labels_ : ndarray of shape (n_samples,), int32
        Each row's nearest centre in L1 distance, the first of several. A Dask array if the rows are
        a Dask collection.

    inertia_ : float
        Weighted sum of the L1 distances of the rows to their centres.

    inertias_ : list of float
        The inertia that each iteration of the best run began with; for iterations of a search, the
        least known when they began.

    n_iter_ : int
        Number of iterations of the best run, with those of a search.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    The inertia never rises. Clusters that no row is nearest to move to the rows farthest from their
    centres.

    Both steps are exact: labels are those of L1 distances in float64, summed feature after feature.

    P. S. Bradley, O. L. Mangasarian and W. N. Street, "Clustering via concave minimization",
    NIPS 1996. Rows are skipped by the triangle inequality as in G. Hamerly, "Making k-means even
    faster", SDM 2010. The search is after B. Fritzke, "Breathing k-means", arXiv 2006.15666, 2020,
    here with gains and losses of L1 distances.

    Examples
    --------
    >>> from fastem import KMedians
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [20, 0]]
    >>> kmedians = KMedians(n_clusters=2, random_state=0).fit(X)
    >>> kmedians.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> kmedians.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    >>> kmedians.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    _parameter_constraints: dict = {
        **BaseClustering._parameter_constraints,
        "init": [Words(STRATEGIES), callable, "array-like"],
        "search": [Words(PACES), None],
    }
    _strategies = STRATEGIES
    _make_search = staticmethod(make_search)

    def _check_input(self, X, *, reset):
        return check_rows(self, X, reset=reset, sparse=False)

    def _check_home(self, rows):
        check_home(self, rows, sparse=False)

    def _make_model(self, X, rows, init):
        n_clusters = int(self.n_clusters)
        given = init if isinstance(init, np.ndarray) else None
        rows, (frame, spread, factor) = measure_spread(rows, given)
        start = self._start(X, init, factor)
        algorithm = choose(rows.n_features, n_clusters)
        tol = self.tol * spread
        return KMediansModel(start, n_clusters, algorithm, frame, rows.dtype, tol, factor), rows

    _power = 1

    def _in_range(self, X, centers):
        rows = array_rows(X)
        factor = range_factor(rows, centers)
        centers = centers.astype(np.float64) * factor
        X = rows.scaled(factor).parts[0].X
        return X, centers, frame_of_centers(centers, X.dtype), factor

    @staticmethod
    def _plain_algorithm(X):
        return Plain

    def _distances(self, X, centers):
        X, centers, _, factor = self._in_range(X, centers)
        dtype, X = X.dtype, wide_enough(X, centers)
        distances = manhattan(X, centers.astype(X.dtype))
        if factor != 1.0:
            distances = distances / X.dtype.type(factor)
        return distances.astype(dtype, copy=False)
