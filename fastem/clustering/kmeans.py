"""K-means: the estimator, and its seeding by itself."""

import math
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import check_array, check_random_state

from fastem.clustering.base import BaseClustering
from fastem.clustering.euclidean.distances import euclidean_distances
from fastem.clustering.euclidean.frame import bring_in_range, frame_of_centers, measure_spread
from fastem.clustering.euclidean.model import KMeansModel
from fastem.clustering.euclidean.search import make_search
from fastem.clustering.euclidean.seeding import STRATEGIES, greedy_kmeans_plusplus
from fastem.clustering.search import PACES
from fastem.kernels.kmeans import ALGORITHMS, Lloyd, Sparse, choose
from fastem.rows import array_rows
from fastem.rows.checks import check_finite_rows, check_home
from fastem.rows.weights import RowWeights
from fastem.sklearn_private import Interval, validate_params
from fastem.validation import Words, check_rows, check_weights, plain_csr
from fastem.warning import warn_user


class KMeans(BaseClustering):
    """K-means clustering, as :class:`sklearn.cluster.KMeans`.

    From the same start all algorithms give the same result up to rounding, scikit-learn's.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, and so of centres.

    init : {'k-means++', 'random', 'random_partition', 'k-means||'}, callable or array-like of \
            shape (n_clusters, n_features), default='k-means++'
        Where the centres start.

        - ``'k-means++'``: rows drawn with probabilities proportional to their squared distance from
          the rows drawn before, the best of several at each step. From more than 100 rows the same
          ``random_state`` picks the same rows as in scikit-learn (in float32 until a draw falls
          where its sums are rounded otherwise); up to 100 rows are sorted first,
          so that neither their order matters nor whether a row is repeated or has an integer
          weight.
        - ``'random'``: rows drawn at random.
        - ``'random_partition'``: each row is put into a random cluster, and these are averaged.
        - ``'k-means||'``: a few rounds that draw many rows each, which are then reduced to
          ``n_clusters`` by k-means++; fewer passes over the rows for many clusters. Taken of
          itself, with two rounds, for ``'k-means++'`` on rows larger than the memory, as a
          ``numpy.memmap`` or a Dask collection may be.
        - an array: the centres themselves.
        - a callable: called as ``init(X, n_clusters, random_state=random_state)`` with the data
          as they are; returns the centres.

    n_init : 'auto' or int, default='auto'
        Number of runs from different starts; the one of least inertia is kept. ``'auto'`` is 10 for
        ``'random'``, ``'random_partition'`` and a callable, otherwise 1.

    max_iter : int, default=300
        Largest number of iterations of a run, not counting a search's.

    tol : float, default=1e-4
        A run also ends when the squared shifts of its centres sum to no more than this, relative
        to the mean of the features' variances.

    verbose : int, default=0
        Whether to print each iteration, and what each step of a search has led to.

    random_state : int, RandomState instance or None, default=None
        Determines the start.

    copy_x : bool, default=True
        Accepted for compatibility. The data are neither copied nor changed in any case.

    algorithm : {'auto', 'lloyd', 'elkan', ...}, default='auto'
        How the nearest centres are found, for speed only; ``'auto'`` chooses by the data's shape.
        The others are the names in ``fastem.kernels.kmeans.ALGORITHMS``.

    search : {'breathing', 'patient-breathing'} or None, default=None
        How each run goes on once it has ended, to leave its local optimum: clusters that gain most
        by it are split, centres that cost least are removed, the iterations settle after either,
        and what is better is kept. ``'breathing'`` takes the time of a few runs and, from five
        clusters on, usually ends lower than ten from other starts; ``'patient-breathing'``
        takes five times as long on average, and usually ends a little lower. The inertia is never
        worse than without. See :doc:`/better-optima`.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centres, in the data's dtype (float32 or float64).

    labels_ : ndarray of shape (n_samples,), int32
        Each row's nearest centre; a Dask array if the rows are a Dask collection.

    inertia_ : float
        Weighted sum of the squared distances of the rows to their centres.

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
    The method is S. P. Lloyd's, "Least squares quantization in PCM", IEEE Transactions on
    Information Theory 28, 1982. The search is after B. Fritzke, "Breathing k-means",
    arXiv 2006.15666, 2020.

    Examples
    --------
    >>> from fastem import KMeans
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]]
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> kmeans.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> kmeans.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    >>> kmeans.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    _parameter_constraints: dict = {
        **BaseClustering._parameter_constraints,
        "init": [Words(STRATEGIES), callable, "array-like"],
        "copy_x": ["boolean"],
        "algorithm": [Words(["auto", "lloyd", "elkan", *ALGORITHMS])],
        "search": [Words(PACES), None],
    }
    _strategies = STRATEGIES
    _make_search = staticmethod(make_search)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "auto",
        search: str | None = None,
    ):
        super().__init__(
            n_clusters,
            init=init,
            n_init=n_init,
            max_iter=max_iter,
            tol=tol,
            verbose=verbose,
            random_state=random_state,
            search=search,
        )
        self.copy_x = copy_x
        self.algorithm = algorithm

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def to_sklearn(self) -> Any:
        """The same clusters as a fitted estimator of scikit-learn's.

        Returns
        -------
        kmeans : sklearn.cluster.KMeans
            With copies of the fitted attributes, and of the parameters that it has, too; a way to
            start or an algorithm that it doesn't know becomes its default.
        """
        from fastem.interchange import kmeans_to_sklearn  # loads much that a fit doesn't need

        return kmeans_to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> "KMeans":
        """The clusters of a fitted estimator of scikit-learn's.

        Parameters
        ----------
        estimator : sklearn.cluster.KMeans
            Fitted.

        Returns
        -------
        kmeans : KMeans
            With copies of its parameters and fitted attributes.

        Raises
        ------
        TypeError
            For another estimator.
        """
        from fastem.interchange import kmeans_from_sklearn

        kmeans = kmeans_from_sklearn(cls, estimator)
        kmeans.inertias_ = [kmeans.inertia_]
        return kmeans

    def _check_input(self, X, *, reset):
        # Infinity and NaN of new rows are found here, and of rows to fit by the first pass.
        return check_rows(self, X, reset=reset, finite=not reset)

    def _check_home(self, rows):
        check_home(self, rows, finite=False)

    def _make_model(self, X, rows, init):
        n_clusters = int(self.n_clusters)
        shape = rows.n_rows, rows.n_features
        algorithm = choose(self._check_algorithm(), *shape, n_clusters, rows.dtype, rows.sparse)
        rows, (frame, variance, squares, factor) = measure_spread(rows)
        if not math.isfinite(variance):
            check_finite_rows(self, X, rows)
        start = self._start(X, init, factor)
        tol = self.tol * variance
        model = KMeansModel(start, n_clusters, algorithm, frame, rows.dtype, tol, squares, factor)
        return model, rows

    def _check_algorithm(self):
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warn_user(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
            )
            return "lloyd"
        return self.algorithm

    _power = 2

    def _in_range(self, X, centers):
        X, centers, factor = bring_in_range(X, centers.astype(np.float64))
        return X, centers, frame_of_centers(centers, X.dtype), factor

    @staticmethod
    def _plain_algorithm(X):
        return Lloyd if isinstance(X, np.ndarray) else Sparse

    @staticmethod
    def _distances(X, centers):
        return euclidean_distances(X, centers)


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "sample_weight": ["array-like", None],
        "x_squared_norms": ["array-like", None],
        "random_state": ["random_state"],
        "n_local_trials": [Interval(Integral, 1, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def kmeans_plusplus(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    x_squared_norms: Any = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows far from one another as seeds, as :func:`sklearn.cluster.kmeans_plusplus`.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to draw from.

    n_clusters : int
        Number of seeds.

    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows; None for ones.

    x_squared_norms : array-like of shape (n_samples,), default=None
        Accepted for compatibility and checked, but not needed.

    random_state : int, RandomState instance or None, default=None
        The same state picks the same rows as in scikit-learn.

    n_local_trials : int, default=None
        Candidates for each seed but the first, of which the one that reduces the inertia most is
        taken. None for ``2 + int(log(n_clusters))``; 1 is k-means++ without greed.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        The seeds, in the rows' dtype.

    indices : ndarray of shape (n_clusters,), int
        Their indices in ``X``.

    Raises
    ------
    ValueError, TypeError
        For bad input.

    Notes
    -----
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    X = check_array(
        plain_csr(X),
        accept_sparse="csr",
        accept_large_sparse=True,
        dtype=[np.float64, np.float32],
        order="C",
        # The first pass will tell.
        ensure_all_finite=not (isinstance(X, np.ndarray) or scipy.sparse.issparse(X)),
    )
    sample_weight = RowWeights.with_room(check_weights(sample_weight, X), X.shape[0]).values
    if X.shape[0] < n_clusters:
        raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={n_clusters}.")
    if x_squared_norms is not None:
        x_squared_norms = check_array(x_squared_norms, dtype=X.dtype, ensure_2d=False)
        if x_squared_norms.shape[0] != X.shape[0]:
            raise ValueError(
                f"The length of x_squared_norms {x_squared_norms.shape[0]} should "
                f"be equal to the length of n_samples {X.shape[0]}."
            )
    random_state = check_random_state(random_state)
    rows = array_rows(X, sample_weight)
    rows, spread = measure_spread(rows)
    if not math.isfinite(spread.variance):
        check_array(X, accept_sparse="csr")
    _, indices = greedy_kmeans_plusplus(
        rows, n_clusters, spread.frame, random_state, n_local_trials
    )
    return array_rows(X).take(indices), indices
