"""The estimator around mixtures of a user's own components.

Public as ``fastem.em.Mixture``.
"""

import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np

from fastem.kernels.own import Functions, OwnPass
from fastem.mixtures.attributes import fitted_array, fitted_weights
from fastem.mixtures.base import BaseMixture
from fastem.mixtures.own.accelerated import OwnCoordinates
from fastem.mixtures.own.model import OwnModel
from fastem.mixtures.own.parameters import OwnParameters, as_tuple, check_arrays
from fastem.validation import Words, check_mixing_weights, check_shape


class Mixture(BaseMixture):
    """A mixture of your own components, to derive from.

    A subclass writes ``log_density`` and ``m_step``, and is an estimator as
    :class:`fastem.GaussianMixture` is: with restarts, weights of rows, history, callbacks, threads
    and memory-mapped rows, and all of a mixture's methods.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.

    tol : float, default=1e-3
        A run ends when the objective, a mean over the rows, changes by less.

    max_iter : int, default=100
        Largest number of iterations of a run, not counting a search's.

    n_init : int, default=1
        Number of runs from different starts; the best is kept.

    init_params : {'kmeans', 'random_from_data'}, default='kmeans'
        How a run starts, unless ``start`` is overridden: with the M-step for the clusters of
        K-means, or for those of the rows nearest to each of ``n_components`` random rows.

    weights_init : array-like of shape (n_components,), default=None
        Weights to start from; None for those of the clusters.

    parameters_init : array or tuple of arrays, default=None
        Parameters to start from, such as ``m_step`` returns; None for those of the clusters.

    fixed : collection of {'weights', 'parameters'}, default=()
        What stays as it starts.

    assignment : {'soft', 'hard'}, default='soft'
        ``'hard'`` makes each row count for its most probable component only (classification EM);
        the objective is then the log-likelihood of rows and these components together.

    random_state : int, RandomState instance or None, default=None
        Determines the start, and what :meth:`sample` draws.

    warm_start : bool, default=False
        Whether a further fit starts where the last one ended; ``n_init`` counts for the first only.

    verbose : int, default=0
        Whether to print each run, iteration and step of a search; from 2 on with changes and times.

    verbose_interval : int, default=10
        Number of iterations from one print to the next.

    accelerate : {'squarem'} or None, default=None
        ``'squarem'`` extrapolates from pairs of EM steps and takes an extrapolation back if it
        lowers the objective: fewer iterations where components overlap (Varadhan and Roland,
        Scandinavian Journal of Statistics 35, 2008).

    search : {'breathing', 'patient-breathing'} or None, default=None
        Goes on from where a run has ended and leaves its local optimum: components are split where
        that gains most, others removed that the rest explain best, and what is better is kept.
        ``'patient-breathing'`` takes longer and usually ends a little higher. ``n_iter_`` counts
        all iterations; the objective is never lower than without. Not with ``fixed``.
        See :doc:`/better-optima`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components.

    parameters_ : ndarray or tuple of ndarray
        What the last ``m_step`` returned, as float64.

    converged_ : bool
        Whether the best run has converged.

    n_iter_ : int
        Number of iterations of the best run.

    lower_bound_ : float
        The objective that the best run's last iteration began with: the rows' mean log-density.

    lower_bounds_ : list of float
        The same for each iteration; for iterations of a search, the best known when they began.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    ``log_density(x, *arguments)``, and if needed ``log_base(x)`` and ``statistics(x, out)``, are
    plain functions for Numba, without ``self``. A function that does the same to every row (sums
    over ``x[f]``, ``math``'s functions, ``numpy.where``) is compiled to vector instructions for
    many rows at once; one with an ``if`` that depends on the row runs for one row after the other.
    All computations are in float64. The functions are compiled once in each process, within a
    second or so, and are never read from a cache on disk. The search is after N. Ueda, R. Nakano,
    Z. Ghahramani and G. E. Hinton, "SMEM algorithm for mixture models", Neural Computation 12,
    2000.

    Examples
    --------
    A mixture of exponential distributions:

    >>> import numpy as np
    >>> from numba import njit
    >>> from fastem import em
    >>> class ExponentialMixture(em.Mixture):
    ...     @njit
    ...     def log_density(x, log_rate, rate):
    ...         return log_rate - rate * x[0]
    ...
    ...     def arguments(self, rates):
    ...         return np.log(rates), rates
    ...
    ...     def m_step(self, counts, sums):
    ...         return counts / sums[:, 0]
    >>> X = np.random.default_rng(0).exponential(np.repeat([1.0, 50.0], 500))[:, np.newaxis]
    >>> mixture = ExponentialMixture(2, tol=1e-6, max_iter=1000, random_state=0).fit(X)
    >>> (1 / np.sort(mixture.parameters_)).round()
    array([47.,  1.])
    """

    _parameter_constraints: dict = {
        **BaseMixture._parameter_constraints,
        "init_params": [Words(["kmeans", "random_from_data"])],
        "weights_init": ["array-like", None],
        "parameters_init": ["array-like", tuple, None],
    }
    _fixable = ("weights", "parameters")
    _impossible = "under every component: their log-density is -inf."

    def __init__(
        self,
        n_components: int = 1,
        *,
        tol: float = 1e-3,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        parameters_init: Any = None,
        fixed: Collection[str] = (),
        assignment: str = "soft",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        accelerate: str | None = None,
        search: str | None = None,
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
        self.init_params = init_params
        self.weights_init = weights_init
        self.parameters_init = parameters_init

    # What a subclass writes.

    #: ``log_density(x, *arguments)``, a float: of a row ``x`` (n_features,) under one component,
    #: with what :meth:`arguments` returns of that component. Under ``@njit`` or plain.
    log_density: Callable | None = None

    #: ``log_base(x)``, a float: what is to be added to the row's log-density under every component,
    #: as the logarithm of an exponential family's base measure. It is computed once, not in every
    #: iteration. None for 0.
    log_base: Callable | None = None

    #: ``statistics(x, out)`` writes the row's sufficient statistics to ``out`` (n_statistics,),
    #: which holds zeros. A function ``statistics(x, out, *arguments)`` has other ones for each
    #: component, as for Student's t. None for the row itself.
    statistics: Callable | None = None

    def m_step(self, counts: np.ndarray, sums: np.ndarray) -> Any:
        """The components' parameters; the weights are not among them.

        Parameters
        ----------
        counts : ndarray of shape (n_components,)
            The rows that each component has: sums of weights times responsibilities.
        sums : ndarray of shape (n_components, n_statistics)
            Sums of weights times responsibilities times statistics.

        Returns
        -------
        parameters : ndarray, or tuple of ndarray
            Their first axes run over the components. A component without rows stays as it is.

        Notes
        -----
        A method ``m_step(self, counts, sums, previous)`` is also given the parameters before this
        step, as for a Newton step: None at the start from clusters.
        """
        raise NotImplementedError(f"{type(self).__name__} has no m_step")

    def arguments(self, parameters: Any) -> Any:
        """What the functions take of the parameters, computed once in each iteration.

        Parameters
        ----------
        parameters : ndarray, or tuple of ndarray
            As :meth:`m_step` returned them.

        Returns
        -------
        arguments : ndarray, or tuple of ndarray
            Their first axes run over the components; each then has up to two axes more. By default
            the parameters themselves.
        """
        return parameters

    def n_statistics(self, n_features: int) -> int:
        """The number of a row's statistics: that of its features unless overridden."""
        return n_features

    def n_parameters(self, parameters: Any) -> int:
        """The number of free parameters, which :meth:`aic`, :meth:`bic` and :meth:`icl` count.

        Parameters
        ----------
        parameters : ndarray, or tuple of ndarray
            As :meth:`m_step` returned them.

        Returns
        -------
        n_parameters : int
            By default of all numbers there are. The weights are not among them.
        """
        return sum(np.size(array) for array in as_tuple(parameters))

    def start(self, rows: Any, random_state: np.random.RandomState) -> Any:
        """The parameters that a run starts from.

        Parameters
        ----------
        rows : rows as in :mod:`fastem.rows`
            ``rows.take(indices)`` are some, of ``rows.n_rows`` and ``rows.n_features``.
        random_state : RandomState

        Returns
        -------
        parameters : ndarray, or tuple of ndarray, or None
            As :meth:`m_step` returns them; None for the start that ``init_params`` names.
        """
        return None

    def sample_component(
        self, component: int, size: int, random_state: np.random.RandomState
    ) -> np.ndarray:
        """Draw rows from one component; only :meth:`sample` needs it.

        Parameters
        ----------
        component, size : int
        random_state : RandomState

        Returns
        -------
        X : ndarray of shape (size, n_features)
        """
        raise NotImplementedError(f"{type(self).__name__} has no sample_component")

    # What a mixture asks for.

    @property
    def _functions(self):
        """The functions that the subclass wrote, without binding them to the estimator."""
        found = []
        for name in ("log_density", "log_base", "statistics"):
            function = inspect.getattr_static(self, name)
            found.append(getattr(function, "__func__", function))
        log_density, log_base, statistics = found
        if log_density is None:
            raise NotImplementedError(f"{type(self).__name__} has no log_density")
        own = False
        if statistics is not None:
            own = len(inspect.signature(statistics).parameters) > 2
        return Functions(log_density, log_base, statistics, own)

    def _check_given(self):
        """The initial weights and parameters; None for those that aren't given."""
        weights, own = self.weights_init, self.parameters_init
        if weights is not None:
            weights = check_mixing_weights(weights, self.n_components)
        if own is not None:
            own = check_arrays(own, self.n_components, "The parameter 'parameters_init'")
        return weights, own

    def _output_dtype(self, X):
        return np.dtype(np.float64)

    def _pass_maker(self, n_components, n_features):
        return partial(
            OwnPass,
            n_components=n_components,
            functions=self._functions,
            n_statistics=self.n_statistics(n_features),
        )

    def _make_pass(self, X, sample_weight):
        return self._pass_maker(self._n_fitted, X.shape[1])(X, sample_weight)

    def _parameters(self):
        weights = fitted_weights(self)
        if not hasattr(self, "parameters_"):
            return OwnParameters(weights, fitted_array(self, "parameters_", ()))
        own = check_arrays(self.parameters_, len(weights), "The attribute 'parameters_'")
        return OwnParameters(weights, own)

    def _components(self):
        return self._parameters().components(self.arguments)

    def _make_model(self, rows, **options):
        return OwnModel(
            self,
            self._pass_maker(self.n_components, rows.n_features),
            given=self._check_given(),
            **options,
        )

    def _coordinates(self):
        return OwnCoordinates()

    def _parameters_to_resume(self, n_features):
        parameters = self._parameters()
        check_shape(parameters.weights, (self.n_components,), "weights")
        return parameters

    def _attributes(self, parameters, dtype):
        return {"weights_": parameters.weights, "parameters_": parameters.own}

    def _n_parameters(self):
        sizes = {
            "weights": len(self.weights_) - 1,
            "parameters": self.n_parameters(self.parameters_),
        }
        return sum(size for name, size in sizes.items() if name not in self.fixed)

    def _sample_component(self, component, size, random_state):
        return self.sample_component(component, size, random_state)
