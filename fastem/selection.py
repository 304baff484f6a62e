"""Choosing a model by a criterion: every combination of parameters fitted to the same rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from traceback import format_exception_only
from typing import Any, NamedTuple

import numba
import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import ParameterGrid
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastem.kernels.runtime.parallel import get_num_threads
from fastem.mixtures.gaussian.estimator import GaussianMixture
from fastem.mixtures.memory import Memory, sharing
from fastem.sklearn_private import (
    HasMethods,
    _fit_context,
    _num_samples,
    callback_context,
)
from fastem.validation import Words, check_weights
from fastem.warning import warn_user

_CRITERIA = ("bic", "aic", "icl")
_SCALARS = (bool, int, float, str)


class _Result(NamedTuple):
    """What one combination came to; without an estimator, what went wrong."""

    estimator: Any = None
    criterion: float = np.nan
    aic: float = np.nan
    bic: float = np.nan
    icl: float = np.nan
    log_likelihood: float = np.nan
    n_parameters: float = np.nan
    time: float = np.nan
    converged: bool = False
    error: str | None = None


def _evaluate(estimator, X, sample_weight, criterion, seconds):
    """A fitted mixture's criteria; with weights, as if rows were repeated."""
    total = _num_samples(X) if sample_weight is None else float(np.sum(sample_weight))
    n_parameters = estimator._n_parameters()
    log_likelihood, complete = estimator._log_likelihoods(X, sample_weight)
    penalty = n_parameters * np.log(total)
    values = {
        "aic": 2 * (n_parameters - log_likelihood),
        "bic": penalty - 2 * log_likelihood,
        "icl": penalty - 2 * complete,
    }
    value = float(criterion(estimator, X) if callable(criterion) else values[criterion])
    if np.isnan(value):
        raise ValueError("the criterion is not a number")
    return _Result(
        estimator,
        value,
        **values,
        log_likelihood=log_likelihood,
        n_parameters=n_parameters,
        time=seconds,
        converged=bool(estimator.converged_),
    )


def _best_has(method):
    """Whether the best estimator, or before the fit any, has the method."""

    def check(search):
        getattr(getattr(search, "best_estimator_", search.estimator), method)
        return True

    return check


class CriterionSearch(CallbackSupportMixin, MetaEstimatorMixin, BaseEstimator):
    """Choose a mixture's parameters by an information criterion, in the manner of GridSearchCV.

    Every combination of parameters is fitted to all rows, and the one of the least criterion is
    kept. A combination that fails is recorded and left out.

    Parameters
    ----------
    estimator : mixture
        A :class:`fastem.GaussianMixture`, :class:`fastem.BernoulliMixture` or a mixture of your
        own. It is cloned, not fitted. Gaussian mixtures with the default ``init_params='kmeans'``
        start from ``'auto'`` here, unless the grid has ``'init_params'``: clusters that K-means
        cuts across would mislead the criterion.

    param_grid : dict or list of dict
        Parameters' names and the values to try, as for
        :class:`sklearn.model_selection.ParameterGrid`.

    criterion : {'bic', 'aic', 'icl'} or callable, default='bic'
        What to minimise. A callable is called as ``criterion(estimator, X)`` with a fitted
        estimator and returns a number.

    n_jobs : int, default=None
        Number of fits at a time, each on its own thread with its share of the threads that
        ``numba.get_num_threads()`` tells. None for 1, a fit on all threads; -1 for one on each.
        The results are the same.

    refit : bool, default=True
        Whether to keep the best estimator, which ``predict`` and other methods then use. It is the
        one of the search, as all are fitted to all rows.

    Attributes
    ----------
    best_estimator_ : estimator
        The one of the least criterion, if ``refit``.

    best_params_ : dict
        Its parameters.

    best_index_ : int
        Its position in ``results_``; the first among equals.

    results_ : dict of ndarray
        A column for each parameter (``param_n_components``), and ``params``, ``criterion``,
        ``aic``, ``bic``, ``icl``, ``log_likelihood``, ``n_parameters``, ``time`` (seconds of the
        fit), ``converged`` and ``error`` (None, or what went wrong). A data frame takes it.

    n_features_in_ : int
        Number of features seen during :term:`fit`, if ``refit``.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, if ``refit`` and all are strings.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : Chooses by cross-validation, here by the log-density of
        rows left out.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import CriterionSearch, GaussianMixture
    >>> X = np.random.default_rng(0).normal([[0.0], [5.0], [10.0]], size=(3, 100)).reshape(-1, 1)
    >>> mixture = GaussianMixture(random_state=0)
    >>> search = CriterionSearch(mixture, {"n_components": [1, 2, 3, 4, 5]}).fit(X)
    >>> search.best_params_
    {'n_components': 3}
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "score", "predict", "complete_log_likelihood"])],
        "param_grid": [dict, list],
        "criterion": [Words(_CRITERIA), callable],
        "n_jobs": [int, np.integer, None],
        "refit": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        criterion: str | Callable[[Any, Any], float] = "bic",
        n_jobs: int | None = None,
        refit: bool = True,
    ):
        self.estimator = estimator
        self.param_grid = param_grid
        self.criterion = criterion
        self.n_jobs = n_jobs
        self.refit = refit

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.input_tags.sparse = inner.input_tags.sparse
        return tags

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "CriterionSearch":
        """Fit every combination and find the best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As the estimator takes it.

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. In the criteria, too, an integer weight
            is as good as repeating the row.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If all fits fail; the message says why.

        Warns
        -----
        FitFailedWarning
            If some fits fail.
        """
        candidates = list(ParameterGrid(self.param_grid))
        if not candidates:
            raise ValueError("No fits were performed: param_grid is empty")
        sample_weight = check_weights(sample_weight, X)
        n_threads = get_num_threads()
        n_jobs = min(effective_n_jobs(self.n_jobs), n_threads, len(candidates))
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        data = {"estimator": self, "X": X, "y": y, "metadata": metadata}
        root = callback_context(self, len(candidates), sequential=n_jobs == 1)
        if root is not None:
            root.call_on_fit_task_begin(**data)
        fit = partial(self._fit_candidate, root, data, sample_weight, Memory())
        if n_jobs == 1:
            results = [fit(None, parameters) for parameters in candidates]
        else:
            results = _map(fit, candidates, n_jobs, n_threads // n_jobs)
        self._check_failures(results)
        self.results_ = _columns(candidates, results)
        self.best_index_ = int(np.nanargmin(self.results_["criterion"]))
        self.best_params_ = candidates[self.best_index_]
        if self.refit:
            self.best_estimator_ = results[self.best_index_].estimator
        elif hasattr(self, "best_estimator_"):
            del self.best_estimator_
        if root is not None:
            root.call_on_fit_task_end(**data)
        return self

    def _fit_candidate(self, root, data, sample_weight, memory, number, parameters):
        """Fit a combination; a failure is a result like another."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        X = data["X"]
        try:
            estimator = clone(self.estimator).set_params(**clone(parameters, safe=False))
            _start_well(estimator, parameters)
            with sharing(memory), _watched(root, number, estimator, data):
                began = perf_counter()
                estimator.fit(X, **weights)
                seconds = perf_counter() - began
            return _evaluate(estimator, X, sample_weight, self.criterion, seconds)
        except Exception as error:
            return _Result(error="".join(format_exception_only(error)).strip())

    @staticmethod
    def _check_failures(results):
        errors = [result.error for result in results if result.error is not None]
        if not errors:
            return
        counts = {error: errors.count(error) for error in errors}
        details = "\n".join(f"{count} fits failed: {error}" for error, count in counts.items())
        if len(errors) == len(results):
            raise ValueError(f"All the {len(errors)} fits failed.\n{details}")
        warn_user(
            f"{len(errors)} fits failed out of a total of {len(results)}; "
            f"results_['error'] tells which.\n{details}",
            FitFailedWarning,
        )

    # What the best estimator does.

    @property
    def n_features_in_(self) -> int:
        """Number of features seen during the fit."""
        return self._best().n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of features seen during the fit."""
        return self._best().feature_names_in_

    def _best(self):
        if not self.refit:
            raise AttributeError(
                f"This {type(self).__name__} instance was initialized with `refit=False`; only the "
                "best parameters are known, in `best_params_`."
            )
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_

    @available_if(_best_has("predict"))
    def predict(self, X: Any) -> np.ndarray:
        """Return what the best estimator's ``predict`` does."""
        return self._best().predict(X)

    @available_if(_best_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return what the best estimator's ``predict_proba`` does."""
        return self._best().predict_proba(X)

    @available_if(_best_has("score_samples"))
    def score_samples(self, X: Any) -> np.ndarray:
        """Return what the best estimator's ``score_samples`` does."""
        return self._best().score_samples(X)

    @available_if(_best_has("score"))
    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return what the best estimator's ``score`` does: the mean log-density."""
        return self._best().score(X, y, sample_weight)

    @available_if(_best_has("sample"))
    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return what the best estimator's ``sample`` does."""
        return self._best().sample(n_samples)


def _start_well(estimator, parameters):
    """The better start in the place of the default, which may mislead any criterion."""
    if isinstance(estimator, GaussianMixture) and "init_params" not in parameters:
        if estimator.init_params == "kmeans":
            estimator.set_params(init_params="auto")


@contextmanager
def _watched(root, number, estimator, data):
    """Let the search's callbacks see a fit as a task of its own."""
    if root is None:
        yield
        return
    context = root.subcontext(task_name="candidate", task_id=number)
    try:
        with context.propagate_callback_context(estimator):
            context.call_on_fit_task_begin(**data)
            yield
    finally:
        context.call_on_fit_task_end(**data)


def _map(fit, candidates, n_jobs, share):
    """Fit several candidates at a time, each with its share of the threads."""

    def on_a_thread(number, parameters):
        numba.set_num_threads(share)  # this thread's only
        return fit(number, parameters)

    pool = ThreadPoolExecutor(n_jobs)
    try:
        return list(pool.map(on_a_thread, range(len(candidates)), candidates))
    finally:
        # After Ctrl-C: without those not yet begun.
        pool.shutdown(cancel_futures=True)


def _columns(candidates, results):
    """The results as a dict of arrays."""
    names = sorted({name for parameters in candidates for name in parameters})
    columns = {
        f"param_{name}": _column([parameters.get(name) for parameters in candidates])
        for name in names
    }
    columns["params"] = _objects(candidates)
    for name in _Result._fields[1:]:
        values = [getattr(result, name) for result in results]
        columns[name] = _objects(values) if name == "error" else np.array(values)
    return columns


def _column(values):
    """Numbers or strings as an array of their own type, all else as objects."""
    kinds = {type(value) for value in values}
    return np.array(values) if len(kinds) == 1 and kinds <= set(_SCALARS) else _objects(values)


def _objects(values):
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array
