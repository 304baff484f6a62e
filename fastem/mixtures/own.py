"""Mixtures of a user's own components: a log-density and an M-step make an estimator.

Public as ``fastem.em.Mixture``.
"""

import inspect
import warnings
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils._param_validation import StrOptions

from fastem.kernels.distances.nearest_row import nearest
from fastem.kernels.own import Functions, OwnComponents, OwnPass
from fastem.mixtures.base import BaseMixture, MixtureModel
from fastem.mixtures.starts import Starts
from fastem.rows.choice import choose_rows
from fastem.validation import check_mixing_weights, check_shape

# Axes that an argument of a component may have: a number, an array or a matrix.
_MOST_AXES = 2
# Numbers in a block of (rows, components) that exists at a time.
_BLOCK_SIZE = 1 << 18


class OwnParameters(NamedTuple):
    """A mixture.

    Parameters
    ----------
    weights : ndarray of shape (n_components,), float64
    own : ndarray or tuple of ndarray, float64
        What the user's M-step returned; first axes run over the components.
    """

    weights: np.ndarray
    own: Any


def _as_tuple(own):
    return own if isinstance(own, tuple) else (own,)


def _like(own, arrays):
    """Arrays as the array or the tuple that ``own`` is."""
    if not isinstance(own, tuple):
        return arrays[0]
    return type(own)(*arrays) if hasattr(own, "_fields") else tuple(arrays)


def _check_arrays(own, n_components, source):
    """An array or a tuple of arrays as float64, of which each has a row for each component."""
    arrays = []
    for value in _as_tuple(own):
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{source} should be an array or a tuple of arrays: {error}"
            ) from error
        if array.ndim == 0 or len(array) != n_components:
            raise ValueError(
                f"{source} should be an array, or a tuple of arrays, with n_components = "
                f"{n_components} rows each, but got one of shape {array.shape}"
            )
        arrays.append(array)
    return _like(own, arrays)


def _make_pass(X, sample_weight, n_components, functions, n_statistics):
    return OwnPass(X, sample_weight, n_components, functions, n_statistics)


def _nearest_seeds(part, make_pass, seeds):
    if "mixture" not in part.state:
        part.state["mixture"] = make_pass(part.X, part.sample_weight)
    return part.state["mixture"].from_labels(nearest(part.X, seeds)[0])


def _explain(part, make_pass, parameters):
    """What is wrong with the first row whose log-density is no number, or None."""
    n_components = len(parameters.log_weights)
    size = max(1, _BLOCK_SIZE // n_components)
    for start in range(0, part.n_rows, size):
        block = slice(start, start + size)
        X = part.X[block]
        log_joint = np.empty((len(X), n_components))
        make_pass(X, None).evaluate(parameters, log_joint=log_joint)
        counts = np.ones(len(X), bool)
        if part.sample_weight is not None:
            counts = part.sample_weight[block] > 0
        wrong = np.isnan(log_joint) | (log_joint == np.inf)
        impossible = counts & (log_joint == -np.inf).all(axis=1)
        found = np.flatnonzero(wrong.any(axis=1) | impossible)
        if len(found):
            row = found[0]
            where = f"row {part.offset + start + row}"
            if impossible[row]:
                return f"{where} is impossible under every component: its log-density is -inf."
            component = int(np.argmax(wrong[row]))
            value = log_joint[row, component]
            return f"the log-density of {where} under component {component} is {value}."
    return None


class OwnModel(MixtureModel):
    """A user's mixture for the EM loop.

    Parameters
    ----------
    mixture : Mixture
    *args, **options
        As for :class:`fastem.mixtures.base.MixtureModel`.
    """

    def __init__(self, mixture, *args, **options):
        super().__init__(*args, **options)
        self.mixture = mixture
        self.given = mixture._check_given()

    def components(self, parameters):
        return self.mixture._for_kernels(parameters)

    def first(self, rows, random_state):
        weights, own = self.given
        if own is None:
            counts, own = self.mixture._start(rows, self.make_pass, random_state)
            if weights is None and counts is not None:
                weights = counts / counts.sum()
        if weights is None:
            n_components = self.mixture.n_components
            weights = np.full(n_components, 1.0 / n_components)
        return OwnParameters(weights, own)

    def e_step(self, rows, parameters):
        statistics = super().e_step(rows, parameters)
        if not (np.isfinite(statistics.objective) and np.isfinite(statistics.counts).all()):
            prepared = self.components(parameters)
            reasons = [reason for reason in rows.map(_explain, self.make_pass, prepared) if reason]
            reason = reasons[0] if reasons else "the sum of the log-densities overflows."
            raise ValueError(f"Fitting the mixture model failed because {reason}")
        return statistics

    def m_step(self, rows, statistics, parameters):
        weights, own = parameters
        counts = statistics.counts
        if "weights" not in self.mixture.fixed:
            weights = counts / counts.sum()
        if "parameters" not in self.mixture.fixed:
            own = self.mixture._m_step(counts, statistics.sums, own)
        return OwnParameters(weights, own)


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
        Largest number of iterations of a run.

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
        Whether to print each run and iteration; from 2 on with changes and times.

    verbose_interval : int, default=10
        Number of iterations from one print to the next.

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
        The same for each iteration.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    ``log_density(x, *arguments)``, and if needed ``log_base(x)`` and ``statistics(x, out)``, are
    plain functions for Numba, without ``self``. A function that does the same to every row (sums
    over ``x[f]``, ``math``'s functions, ``numpy.where``) is compiled to vector instructions for
    many rows at once; one with an ``if`` that depends on the row runs for one row after the other.
    All computations are in float64. The functions are compiled once in each process, within a
    second or so, and are never read from a cache on disk.

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
        "init_params": [StrOptions({"kmeans", "random_from_data"})],
        "weights_init": ["array-like", None],
        "parameters_init": ["array-like", tuple, None],
    }
    _fixable = ("weights", "parameters")

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
    ):
        self.n_components = n_components
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.parameters_init = parameters_init
        self.fixed = fixed
        self.assignment = assignment
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

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

    def _for_kernels(self, parameters):
        weights, own = parameters
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights)
            arguments = self.arguments(own)
        arguments = _as_tuple(_check_arrays(arguments, len(weights), "What 'arguments' returns"))
        for array in arguments:
            if array.ndim > 1 + _MOST_AXES:
                raise ValueError(
                    f"What 'arguments' returns should have at most {1 + _MOST_AXES} axes, but got "
                    f"an array of shape {array.shape}"
                )
        return OwnComponents(log_weights, arguments)

    def _m_step(self, counts, sums, previous=None):
        with np.errstate(divide="ignore", invalid="ignore"):
            own = self.m_step(counts, sums)
        own = _check_arrays(own, len(counts), "What 'm_step' returns")
        if previous is None:
            return own
        new, old = _as_tuple(own), _as_tuple(previous)
        shapes, expected = ([array.shape for array in arrays] for arrays in (new, old))
        if shapes != expected:
            raise ValueError(
                f"What 'm_step' returns should have the shapes {expected} of the parameters that "
                f"the fit started from, but got {shapes}"
            )
        arrays = []
        for array, before in zip(new, old, strict=True):
            empty = (counts == 0).reshape(-1, *[1] * (array.ndim - 1))
            arrays.append(np.where(empty, before, array))
        return _like(own, arrays)

    def _start(self, rows, make_pass, random_state):
        """The rows that each component starts with, if known, and the parameters."""
        own = self.start(rows, random_state)
        if own is not None:
            return None, _check_arrays(own, self.n_components, "What 'start' returns")
        if self._functions.own_statistics:
            raise ValueError(
                "The statistics depend on the parameters, so that these can't start from clusters. "
                "Write 'start' or set parameters_init."
            )
        if self.init_params == "kmeans":
            statistics, _ = Starts(make_pass, self.n_components, None).kmeans(rows, random_state)
        else:
            if rows.weighted:
                indices = choose_rows(rows, random_state, self.n_components)
            else:
                indices = random_state.choice(rows.n_rows, self.n_components, replace=False)
            statistics = rows.reduce(_nearest_seeds, make_pass, rows.take(indices))
        return statistics.counts, self._m_step(statistics.counts, statistics.sums)

    def _check_given(self):
        """The initial weights and parameters; None for those that aren't given."""
        weights, own = self.weights_init, self.parameters_init
        if weights is not None:
            weights = check_mixing_weights(weights, self.n_components)
        if own is not None:
            own = _check_arrays(own, self.n_components, "The parameter 'parameters_init'")
        return weights, own

    def _output_dtype(self, X):
        return np.dtype(np.float64)

    def _pass_maker(self, n_components, n_features):
        return partial(
            _make_pass,
            n_components=n_components,
            functions=self._functions,
            n_statistics=self.n_statistics(n_features),
        )

    def _make_pass(self, X, sample_weight):
        return self._pass_maker(self._n_fitted, X.shape[1])(X, sample_weight)

    def _fitted_parameters(self):
        return self._for_kernels(OwnParameters(self.weights_, self.parameters_))

    def _make_model(self, X, **options):
        if options["resumed"]:
            check_shape(self.weights_, (self.n_components,), "weights")
            options["resumed"] = OwnParameters(self.weights_, self.parameters_), self.lower_bound_
        return OwnModel(self, self._pass_maker(self.n_components, X.shape[1]), **options)

    def _attributes(self, parameters, dtype):
        return {"weights_": parameters.weights, "parameters_": parameters.own}

    def _n_parameters(self):
        sizes = {
            "weights": len(self.weights_) - 1,
            "parameters": sum(array.size for array in _as_tuple(self.parameters_)),
        }
        return sum(size for name, size in sizes.items() if name not in self.fixed)

    def _sample_component(self, component, size, random_state):
        return self.sample_component(component, size, random_state)

    def _evaluate(self, X, **outputs):
        log_density = outputs.setdefault("log_density", np.empty(X.shape[0]))
        super()._evaluate(X, **outputs)
        if np.isnan(log_density).any():
            row = int(np.argmax(np.isnan(log_density)))
            raise ValueError(f"The log-density of row {row} is not a number.")
        n_impossible = np.count_nonzero(log_density == -np.inf)
        if n_impossible:
            warnings.warn(
                f"{n_impossible} rows are impossible under every component: their log-density is "
                "-inf.",
                RuntimeWarning,
                stacklevel=4,
            )
