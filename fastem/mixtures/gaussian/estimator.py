"""The estimator around Gaussian mixtures."""

from collections.abc import Collection
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from fastem.kernels.columns.magnitude import largest_magnitude
from fastem.mixtures.attributes import as_shares, fitted_array, fitted_weights
from fastem.mixtures.base import BaseMixture
from fastem.mixtures.gaussian.accelerated import GaussianCoordinates
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.mixtures.gaussian.distribution import DistributionMixin
from fastem.mixtures.gaussian.incomplete.estimator import (
    IncompleteMixin,
    complete_model,
    make_pass,
)
from fastem.mixtures.gaussian.model import GaussianModel
from fastem.mixtures.gaussian.noise import Noise, fitted_noise, noise_finder
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.gaussian.prior import ConjugatePrior
from fastem.mixtures.gaussian.stacks import order
from fastem.mixtures.gaussian.starts import GaussianStarts
from fastem.sklearn_private import Interval
from fastem.validation import Words, check_mixing_weights, check_shape

# Sums of products of values between these powers of two neither overflow nor vanish in float32.
_SMALLEST, _LARGEST = 2.0**-60, 2.0**60


class GaussianMixture(IncompleteMixin, DistributionMixin, BaseMixture):
    """Gaussian mixture, as :class:`sklearn.mixture.GaussianMixture`.

    From the same start it takes the same steps up to rounding, scikit-learn's.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.

    covariance_type : {'full', 'tied', 'diag', 'spherical', 'tied_diag', 'tied_spherical', 'EII', \
            'VII', 'EEI', 'VEI', 'EVI', 'VVI', 'EEE', 'VEE', 'EVE', 'VVE', 'EEV', 'VEV', 'EVV', \
            'VVV'}, default='full'
        What the components' covariances are.

        - ``'full'``: any, each component its own.
        - ``'tied'``: any, one for all components.
        - ``'diag'``: diagonal, each component its own.
        - ``'spherical'``: a multiple of the identity, each component its own.
        - ``'tied_diag'``: diagonal, one for all components.
        - ``'tied_spherical'``: a multiple of the identity, one for all components.

        Three letters are a model of R's mclust: whether the components' volumes, shapes and
        orientations, in this order, are equal (E) or vary (V); I are the shape of a sphere, and
        axes parallel to the features'. Six of the fourteen are the six above: ``'VVV'``,
        ``'EEE'``, ``'VVI'``, ``'VII'``, ``'EEI'``, ``'EII'``, in this order. Of the others,
        ``'EVI'`` and ``'VEI'`` have covariances shaped as those of ``'diag'``, the rest as those of
        ``'full'``; :meth:`decomposition` has the three parts.

    tol : float, default=1e-3
        A run ends when the mean log-density of the rows changes by less.

    reg_covar : float, default=1e-6
        Added to the variances to keep the covariances positive definite. With 0, a variance of
        which only rounding is left is an error.

    max_iter : int, default=100
        Largest number of iterations of a run, not counting a search's.

    n_init : int, default=1
        Number of runs from different starts; the best is kept.

    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data', 'auto'}, default='kmeans'
        Where a run starts.

        - ``'kmeans'``: each row belongs to its cluster of K-means.
        - ``'k-means++'``: each component has one row, drawn by k-means++, and with ``reg_covar=0``
          the covariance of all rows, for one has none.
        - ``'random'``: each row's responsibilities are random.
        - ``'random_from_data'``: the same, but drawn at random.
        - ``'auto'``: up to twenty iterations each from clusters of K-means, of K-means in the
          metric of their own covariance, and of Ward's hierarchy of sphered rows; the best goes on.
          K-means cuts long, parallel clusters across, and EM hardly mends that.

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
        Whether to print each run, iteration and step of a search; from 2 on with changes and times.

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

    search : {'breathing', 'patient-breathing'} or None, default=None
        Goes on from where a run has ended and leaves its local optimum: components are split where
        that gains most, others removed that the rest explain best, and what is better is kept.
        ``'patient-breathing'`` takes longer and usually ends a little higher. ``n_iter_`` counts
        all iterations; the objective is never lower than without. Not with ``fixed`` or ``noise``.

    prior : {'conjugate'} or None, default=None
        ``'conjugate'`` finds the most probable parameters given mclust's prior for means and
        covariances (Fraley and Raftery, Journal of Classification 24, 2007), which keeps components
        of few rows from collapsing: covariances are drawn to that of all rows, divided among the
        components, and means by a hundredth of a row to the mean of all. The objective is then the
        log-posterior, up to a constant, divided by the number of rows. ``reg_covar`` may be zero.
        Matrices that share only a part are the mode among their type of what would be the
        posterior if they shared nothing.

    noise_component : {'auto'} or float, default=None
        Adds a component of uniform noise for rows that belong to no other (Banfield and Raftery,
        Biometrics 49, 1993). Its weight is learned; its density is the same everywhere and fixed:

        - ``'auto'``: one over the volume of the smallest box around the rows that is parallel to
          the features or to their principal components.
        - a float: this, as a logarithm.

        Its rows have the label -1, which is also its column, the last, of responsibilities. A fit
        starts with a weight of 0.05 for it, or with what ``weights_init`` leaves to one. The start
        knows of no noise, so that several runs (``n_init``) are worth their while; components that
        start from a single row have the covariance of all rows at first, whatever ``reg_covar`` is.
        :meth:`sample` draws noise from the box. :meth:`mean`, :meth:`marginal` and what else needs
        a distribution refuse, and so does :meth:`to_sklearn`.

    missing : {'error', 'em'}, default='error'
        ``'em'`` takes NaN as not observed, and finds the parameters that are most likely given what
        was. Rows without gaps take part as ever. A start fills gaps by the means of their columns,
        and adds what that takes from the columns' variances to the components'.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components; they and ``noise_weight_``, if there is noise, sum to one.

    means_ : ndarray of shape (n_components, n_features)
        Means of the components.

    covariances_ : ndarray
        Covariances of the components. The shape depends on ``covariance_type``::

            (n_components, n_features, n_features) if 'full', and for matrices between,
            (n_features, n_features)               if 'tied',
            (n_components, n_features)             if 'diag', 'EVI' or 'VEI',
            (n_components,)                        if 'spherical',
            (n_features,)                          if 'tied_diag',
            ()                                     if 'tied_spherical'

    precisions_ : ndarray
        Inverses of the covariances.

    precisions_cholesky_ : ndarray
        Upper triangular matrices whose products with their transposes are the precisions;
        reciprocals of standard deviations where covariances are diagonal.

    noise_weight_ : float
        Weight of the noise, if there is a noise component.

    noise_log_density_ : float
        Logarithm of the noise's density.

    noise_box_ : ndarray of shape (1 + n_features, n_features) or None
        A corner of the box that the noise fills, and below it the edges from there; None if the
        density was given.

    converged_ : bool
        Whether the best run has converged.

    n_iter_ : int
        Number of iterations of the best run.

    lower_bound_ : float
        Mean log-density of the rows that the best run's last iteration began with.

    lower_bounds_ : list of float
        The same for each iteration; for iterations of a search, the best known when they began.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    The attributes are in the data's dtype, float32 or float64, but for covariances, precisions and
    their factors that float32 can't hold: these stay in float64. The fit works with float64
    parameters in any case. With ``sample_weight``, means over the rows are weighted.

    The method is that of Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via
    the EM algorithm", Journal of the Royal Statistical Society B 39, 1977; the search is after N.
    Ueda and others, as :doc:`/better-optima` says. The fourteen models are those of G. Celeux and
    G. Govaert, "Gaussian parsimonious clustering models", Pattern Recognition 28, 1995. Where their
    M-steps take steps of their own, these go on from the last covariances: volumes to a relative
    1e-7, an orientation that all components share by one sweep of rotations, which is enough as the
    next M-step makes another. Numbers of parameters in :meth:`bic` and the other criteria are
    mclust's; its BIC has the opposite sign.

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

    means_: NDArray[np.floating[Any]]
    covariances_: NDArray[np.floating[Any]]
    precisions_: NDArray[np.floating[Any]]
    precisions_cholesky_: NDArray[np.floating[Any]]
    noise_weight_: float
    noise_log_density_: float
    noise_box_: NDArray[np.float64] | None

    _parameter_constraints: dict = {
        **BaseMixture._parameter_constraints,
        "covariance_type": [Words(COVARIANCES)],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "init_params": [Words(["kmeans", "k-means++", "random", "random_from_data", "auto"])],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", Real, None],
        "prior": [Words(["conjugate"]), None],
        "noise_component": [
            Words(["auto"]),
            Interval(Real, None, None, closed="neither"),
            None,
        ],
        "missing": [Words(["error", "em"])],
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
        search: str | None = None,
        prior: str | None = None,
        noise_component: str | float | None = None,
        missing: str = "error",
    ):
        super().__init__(
            n_components=n_components,
            tol=tol,
            max_iter=max_iter,
            n_init=n_init,
            fixed=fixed,
            assignment=assignment,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
            verbose_interval=verbose_interval,
            accelerate=accelerate,
            search=search,
        )
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.prior = prior
        self.noise_component = noise_component
        self.missing = missing

    def to_sklearn(self) -> Any:
        """The same mixture as a fitted estimator of scikit-learn's.

        Returns
        -------
        mixture : sklearn.mixture.GaussianMixture
            With copies of the fitted attributes, and of the parameters that it has, too.

        Raises
        ------
        ValueError
            If scikit-learn has no such covariance type.
        """
        from fastem.interchange import mixture_to_sklearn  # loads much that a fit doesn't need

        return mixture_to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> "GaussianMixture":
        """The mixture of a fitted estimator of scikit-learn's.

        Parameters
        ----------
        estimator : sklearn.mixture.GaussianMixture
            Fitted.

        Returns
        -------
        mixture : GaussianMixture
            With copies of its parameters and fitted attributes.

        Raises
        ------
        TypeError
            For another estimator.
        """
        from fastem.interchange import mixture_from_sklearn

        return mixture_from_sklearn(cls, estimator)

    @property
    def _covariances(self):
        return COVARIANCES[self.covariance_type]

    @property
    def _labels(self):
        components = super()._labels
        return [*components, -1] if hasattr(self, "noise_weight_") else components

    def _shares(self):
        if not hasattr(self, "noise_weight_"):
            return super()._shares()
        return as_shares(self._parameters().shares)

    def _fit(self, rows, X, y, sample_weight, **known):
        if self.noise_component is None and hasattr(self, "noise_weight_"):
            # What a fit without noise may go on from.
            self.weights_ = np.asarray(self.weights_) / np.sum(self.weights_)
            for name in Noise._fields:
                vars(self).pop(f"noise_{name}_", None)
        return super()._fit(rows, X, y, sample_weight, **known)

    def _to_fit(self, X):
        if X.dtype != np.float32:
            return X
        magnitude = largest_magnitude(X)
        within = _SMALLEST < magnitude < _LARGEST or np.isnan(magnitude)  # rows with gaps
        return X if within else X.astype(np.float64)

    def _least_rows(self, rows):
        return 2.0 * (rows.n_features + 1)

    def _n_features_of_parameters(self):
        shape = np.shape(getattr(self, "means_", ()))
        return shape[1] if len(shape) == 2 else None

    def _components(self):
        return self._parameters().components()

    def _parameters(self):
        kind, means = self._covariances, fitted_array(self, "means_", (None, None))
        weights, shape = fitted_weights(self, len(means)), kind.shape(*means.shape)
        noise = fitted_noise(self, means.shape[1])
        if not hasattr(self, "precisions_cholesky_"):
            covariances = fitted_array(self, "covariances_", shape)
            covariances = kind.check_covariances(covariances, *means.shape)
            factors = kind.factor(covariances)
            return GaussianParameters(weights, means, covariances, factors, noise)
        factors = fitted_array(self, "precisions_cholesky_", shape)
        scales = np.einsum("...ii->...i", factors) if order(kind) == 2 else factors
        if not ((scales > 0.0).all() and np.isfinite(factors).all()):
            raise ValueError(
                "The attribute 'precisions_cholesky_' should be finite, with positive "
                + ("diagonals" if order(kind) == 2 else "values")
            )
        if hasattr(self, "covariances_"):
            covariances = fitted_array(self, "covariances_", shape)
        else:
            covariances = np.asarray(kind.covariances(factors))
        return GaussianParameters(weights, means, covariances, factors, noise)

    def _make_model(self, rows, noise=None, **options):
        if noise is not None and self.search is not None:
            raise ValueError(
                "'search' and 'noise' can't go together: components are judged on some rows"
            )
        complete_pass = partial(
            make_pass, n_components=self.n_components, covariance_type=self._covariances.passes
        )
        model = GaussianModel(
            complete_pass,
            starts=GaussianStarts(
                complete_pass,
                self.n_components,
                self._covariances,
                pooled=self.reg_covar == 0,
                noisy=self.noise_component is not None,
            ),
            init_params=self.init_params,
            given=self._check_given(rows.n_features),
            covariances=self._covariances,
            reg_covar=self.reg_covar,
            find_noise=noise_finder(self.noise_component),
            make_prior=self._prior_maker(options["row_unit"]),
            fixed=self.fixed,
            **options,
        )
        complete_model(model, rows, noise, self._gaps)
        return model

    def _coordinates(self):
        return GaussianCoordinates(self._covariances, self.reg_covar)

    def _prior_maker(self, unit):
        if self.prior is None:
            return None
        return partial(
            ConjugatePrior.of_rows,
            kind=self._covariances,
            n_components=self.n_components,
            unit=unit,
        )

    def _parameters_to_resume(self, n_features):
        parameters = self._parameters()
        check_shape(parameters.means, (self.n_components, n_features), "means")
        return parameters

    def _check_given(self, n_features):
        """The initial weights, means and precisions; None for those that aren't given."""
        weights, means, precisions = self.weights_init, self.means_init, self.precisions_init
        if weights is not None:
            noisy = self.noise_component is not None
            weights = check_mixing_weights(weights, self.n_components, leave_some=noisy)
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
        return parameters.attributes(self._covariances, dtype)

    def _n_parameters(self):
        n_components, n_features = np.shape(self.means_)
        sizes = {
            "weights": len(self._labels) - 1,
            "means": n_components * n_features,
            "covariances": self._covariances.n_parameters(n_components, n_features),
        }
        total = sum(size for name, size in sizes.items() if name not in self.fixed)
        measured = getattr(self, "noise_box_", None) is not None
        return total + measured  # the noise's volume

    def _sample_component(self, component, size, random_state):
        parameters = self._parameters()
        if component == -1:
            return parameters.noise.sample(size, random_state)
        kind, mean = self._covariances, parameters.means[component]
        covariances = parameters.covariances
        covariance = covariances if kind.tied else covariances[component]
        return kind.sample(mean, covariance, size, random_state)
