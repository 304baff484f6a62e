"""Gaussian mixtures: the model, and the estimator around it."""

from collections.abc import Collection
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions

from fastem.gaussian.covariances import COVARIANCES, CollapsedError
from fastem.gaussian.distribution import DistributionMixin
from fastem.gaussian.parameters import Parameters
from fastem.gaussian.starts import Starts
from fastem.kernels.gaussian import PASSES
from fastem.mixture import BaseMixture, MixtureModel, check_mixing_weights
from fastem.squarem import SquaremMixin
from fastem.validation import check_shape

# Keeps the counts of empty components from zero; a multiple of the rows' mean weight.
_LEAST_COUNT = 10 * np.finfo(np.float64).eps
# A pass is repeated about the new means if its scatter is more than this many times what is left of
# it; in float32 the scatter has fewer digits to lose.
_MOST_CANCELLATION = {np.dtype(np.float64): 1e3, np.dtype(np.float32): 10.0}


class GaussianModel(MixtureModel):
    """A Gaussian mixture for the EM loop.

    Parameters
    ----------
    starts : Starts
    init_params : str
        Which of them.
    given : tuple
        Weights, means and precisions that the user gave for the start; None for those of the start.
    covariances : Covariances
    reg_covar : float
    fixed : collection of str
    *args, **options
        As for :class:`fastem.mixture.MixtureModel`.
    """

    #: Whether a pass may leave out components whose share of a tile of rows is negligible.
    skip = True

    def __init__(
        self, *args, starts, init_params, given, covariances, reg_covar, fixed=(), **options
    ):
        super().__init__(*args, **options)
        self.starts = starts
        self.init_params = init_params
        self.given = given
        self.covariances = covariances
        self.reg_covar = reg_covar
        self.fixed = fixed

    def for_kernels(self, parameters):
        return parameters.for_kernels()

    def statistics(self, rows, parameters, **options):
        return super().statistics(rows, parameters, skip=self.skip, **options)

    def first(self, rows, random_state):
        weights, means, precisions = self.given
        start = None
        if any(parameter is None for parameter in self.given):
            statistics, centers = self.starts(self.init_params, rows, random_state)
            divisors, delta = self._locate(rows, statistics, centers)
            if weights is None:
                # Seeds' weights don't sum to one, in scikit-learn neither; a fixed start's do.
                total = divisors.sum() if "weights" in self.fixed else self.total_weight
                weights = divisors / total
            if means is None:
                means = centers + delta
            if precisions is None:
                start = self._estimate(statistics, centers + delta, centers, divisors)
        if precisions is None:
            return Parameters(weights, means, start, self.covariances.factor(start))
        return Parameters.from_precisions(weights, means, precisions, self.covariances)

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
        statistics = self.statistics(rows, parameters, centers=centers)
        return self._maximize(rows, statistics, centers, parameters)

    def _maximize(self, rows, statistics, centers, parameters):
        """The parameters that are most likely given statistics about the centres."""
        weights, means, covariances, factors = parameters
        divisors, delta = self._locate(rows, statistics, centers)
        if "weights" not in self.fixed:
            weights = divisors / divisors.sum()
        if "means" not in self.fixed:
            means = centers + delta
        if "covariances" not in self.fixed:
            covariances = self._estimate(statistics, means, centers, divisors)
            factors = self.covariances.factor(covariances)
        return Parameters(weights, means, covariances, factors)

    def _locate(self, rows, statistics, centers):
        """The counts to divide by, and the means' differences from the centres."""
        least = _LEAST_COUNT * self.total_weight / rows.n_rows
        divisors = statistics.counts + least
        return divisors, (statistics.sums - least * centers) / divisors[:, np.newaxis]

    def _estimate(self, statistics, means, centers, divisors):
        _, counts, sums, scatter = statistics
        return self.covariances.estimate(
            counts, sums, scatter, means, centers, divisors, self.reg_covar
        )


class AcceleratedGaussianModel(SquaremMixin, GaussianModel):
    """The same with extrapolated steps.

    Coordinates don't depend on the data's location and scale: logarithms of the weights, means in
    standard deviations, logarithms of standard deviations.
    """

    def coordinates(self, parameters, base):
        weighted = base.weights * parameters.weights > 0.0
        log_weights = np.zeros(len(weighted))
        log_weights[weighted] = np.log(parameters.weights[weighted] / base.weights[weighted])
        means = self.covariances.whiten(parameters.means - base.means, base.precisions_cholesky)
        try:
            spreads = self.covariances.relative(parameters.covariances, base.precisions_cholesky)
        except np.linalg.LinAlgError:  # all but singular
            return None
        return np.concatenate([log_weights, means.ravel(), np.ravel(spreads)])

    def at(self, coordinates, base):
        sizes = base.weights.size, base.means.size
        log_weights, means, spreads = np.split(coordinates, np.cumsum(sizes))
        factors = base.precisions_cholesky
        try:
            with np.errstate(over="raise", invalid="raise"):
                weights = base.weights * np.exp(log_weights)
                weights /= weights.sum()
                means = self.covariances.unwhiten(means.reshape(base.means.shape), factors)
                spreads = spreads.reshape(np.shape(factors))
                covariances = self.covariances.absolute(spreads, factors)
                # A step never ends where there is less variance than this.
                self.covariances.factor(
                    self.covariances.regularized(np.array(covariances), -0.99 * self.reg_covar)
                )
                factors = self.covariances.factor(covariances)
        except (FloatingPointError, CollapsedError):
            return None
        return Parameters(weights, base.means + means, covariances, factors)


class GaussianMixture(DistributionMixin, BaseMixture):
    """Gaussian mixture, as :class:`sklearn.mixture.GaussianMixture`.

    From the same start it takes the same steps up to rounding, scikit-learn's.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.

    covariance_type : {'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical'}, \
            default='full'
        What the components' covariances are.

        - ``'full'``: any, each component its own.
        - ``'tied'``: any, one for all components.
        - ``'diag'``: diagonal, each component its own.
        - ``'spherical'``: a multiple of the identity, each component its own.
        - ``'tied_diag'``: diagonal, one for all components.
        - ``'tied_spherical'``: a multiple of the identity, one for all components.

    tol : float, default=1e-3
        A run ends when the mean log-density of the rows changes by less.

    reg_covar : float, default=1e-6
        Added to the variances to keep the covariances positive definite.

    max_iter : int, default=100
        Largest number of iterations of a run.

    n_init : int, default=1
        Number of runs from different starts; the best is kept.

    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where a run starts.

        - ``'kmeans'``: each row belongs to its cluster of K-means.
        - ``'k-means++'``: each component has one row, drawn by k-means++.
        - ``'random'``: each row's responsibilities are random.
        - ``'random_from_data'``: each component has one row, drawn at random.

    weights_init : array-like of shape (n_components,), default=None
        Weights to start from; None for those of ``init_params``.

    means_init : array-like of shape (n_components, n_features), default=None
        Means to start from; None for those of ``init_params``.

    precisions_init : array-like, default=None
        Inverses of the covariances to start from, shaped as ``covariances_``; None for those of
        ``init_params``.

    random_state : int, RandomState instance or None, default=None
        Determines the start, and what :meth:`sample` draws.

    warm_start : bool, default=False
        Whether a further fit starts where the last one ended; ``n_init`` counts for the first only.

    verbose : int, default=0
        Whether to print each run and iteration; from 2 on with changes and times.

    verbose_interval : int, default=10
        Number of iterations from one print to the next.

    fixed : collection of {'weights', 'means', 'covariances'}, default=()
        Parameters that stay as they start.

    assignment : {'soft', 'hard'}, default='soft'
        ``'hard'`` makes each row count for its most probable component only (classification EM);
        the objective is then the log-likelihood of rows and these components together.

    accelerate : {'squarem'} or None, default=None
        ``'squarem'`` extrapolates from pairs of EM steps and takes an extrapolation back if it
        lowers the objective: fewer iterations where components overlap (Varadhan and Roland,
        Scandinavian Journal of Statistics 35, 2008).

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components.

    means_ : ndarray of shape (n_components, n_features)
        Means of the components.

    covariances_ : ndarray
        Covariances of the components. The shape depends on ``covariance_type``::

            (n_components, n_features, n_features) if 'full',
            (n_features, n_features)               if 'tied',
            (n_components, n_features)             if 'diag',
            (n_components,)                        if 'spherical',
            (n_features,)                          if 'tied_diag',
            ()                                     if 'tied_spherical'

    precisions_ : ndarray
        Inverses of the covariances.

    precisions_cholesky_ : ndarray
        Upper triangular matrices whose products with their transposes are the precisions;
        reciprocals of standard deviations where covariances are diagonal.

    converged_ : bool
        Whether the best run has converged.

    n_iter_ : int
        Number of iterations of the best run.

    lower_bound_ : float
        Mean log-density of the rows that the best run's last iteration began with.

    lower_bounds_ : list of float
        The same for each iteration.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    The attributes are in the data's dtype, float32 or float64; the fit works with float64
    parameters in any case. With ``sample_weight``, means over the rows are weighted.

    The method is that of Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via
    the EM algorithm", Journal of the Royal Statistical Society B 39, 1977.

    Examples
    --------
    >>> from fastem import GaussianMixture
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]]
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.means_
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> mixture.predict([[0, 0], [12, 3]])
    array([1, 0])
    """

    _parameter_constraints: dict = {
        **BaseMixture._parameter_constraints,
        "covariance_type": [StrOptions(set(COVARIANCES))],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "init_params": [StrOptions({"kmeans", "random", "random_from_data", "k-means++"})],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", Real, None],
        "accelerate": [StrOptions({"squarem"}), None],
    }
    _fixable = ("weights", "means", "covariances")

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        fixed: Collection[str] = (),
        assignment: str = "soft",
        accelerate: str | None = None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.fixed = fixed
        self.assignment = assignment
        self.accelerate = accelerate

    @property
    def _covariances(self):
        return COVARIANCES[self.covariance_type]

    def _make_pass(self, X, sample_weight):
        return PASSES[self.covariance_type](X, sample_weight, self._n_fitted)

    def _fitted_parameters(self):
        return self._parameters().for_kernels()

    def _parameters(self):
        attributes = self.weights_, self.means_, self.covariances_, self.precisions_cholesky_
        return Parameters(*(np.asarray(a, np.float64, order="C") for a in attributes))

    def _make_model(self, X, **options):
        make_pass = partial(PASSES[self.covariance_type], n_components=self.n_components)
        given = self._check_given(X.shape[1])
        if options["resumed"]:
            parameters = self._parameters()
            shape = self.n_components, X.shape[1]
            check_shape(parameters.means, shape, "means")
            name = f"{self.covariance_type} covariance"
            check_shape(parameters.covariances, self._covariances.shape(*shape), name)
            options["resumed"] = parameters, self.lower_bound_
        model = GaussianModel if self.accelerate is None else AcceleratedGaussianModel
        return model(
            make_pass,
            starts=Starts(make_pass, self.n_components, self._covariances),
            init_params=self.init_params,
            given=given,
            covariances=self._covariances,
            reg_covar=self.reg_covar,
            fixed=self.fixed,
            **options,
        )

    def _check_given(self, n_features):
        """The initial weights, means and precisions; None for those that aren't given."""
        weights, means, precisions = self.weights_init, self.means_init, self.precisions_init
        if weights is not None:
            weights = check_mixing_weights(weights, self.n_components)
        if means is not None:
            means = check_array(means, dtype=[np.float64, np.float32], ensure_2d=False)
            check_shape(means, (self.n_components, n_features), "means")
            means = np.ascontiguousarray(means, np.float64)
        if precisions is not None:
            precisions = self._covariances.check_precisions(
                precisions, self.n_components, n_features
            )
        return weights, means, precisions

    def _attributes(self, parameters, dtype):
        precisions = self._covariances.precisions(parameters.precisions_cholesky)
        values = {**parameters._asdict(), "precisions": precisions}
        return {
            f"{name}_": np.asarray(value).astype(dtype, copy=False)[()]
            for name, value in values.items()
        }

    def _n_parameters(self):
        n_components, n_features = self.means_.shape
        sizes = {
            "weights": n_components - 1,
            "means": n_components * n_features,
            "covariances": self._covariances.n_parameters(n_components, n_features),
        }
        return sum(size for name, size in sizes.items() if name not in self.fixed)

    def _sample_component(self, component, size, random_state):
        mean = self.means_[component]
        kind = self._covariances
        covariance = self.covariances_ if kind.tied else self.covariances_[component]
        return kind.sample(mean, covariance, size, random_state)
