"""The estimator around Bernoulli mixtures."""

from collections.abc import Collection
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from fastem.kernels.bernoulli import DensePass, SparsePass
from fastem.kernels.bernoulli.bits import first_other, packed_bits, sparse_bits
from fastem.kernels.bernoulli.incomplete import IncompletePass
from fastem.mixtures.attributes import fitted_array, fitted_weights
from fastem.mixtures.base import BaseMixture
from fastem.mixtures.bernoulli.accelerated import BernoulliCoordinates
from fastem.mixtures.bernoulli.missing import fill_gaps
from fastem.mixtures.bernoulli.model import IMPOSSIBLE, BernoulliModel, BernoulliParameters
from fastem.mixtures.missing import MissingMixin, gaps_in, has_gaps
from fastem.rows.checks import check_home
from fastem.sklearn_private import Interval
from fastem.validation import Words, check_mixing_weights, check_shape, plain_csr


def _make_pass(X, sample_weight, n_components, threshold, gaps=False):
    if gaps:
        return IncompletePass(X, threshold, sample_weight, n_components)
    if isinstance(X, np.ndarray):
        rows, kind = packed_bits(X, threshold), DensePass
    else:
        rows, kind = sparse_bits(X, threshold), SparsePass
    return kind(rows, X.shape[1], sample_weight, n_components)


def _first_other(part):
    return first_other(part.X)


def _refuse(other):
    if other is not None:
        raise ValueError(
            "With binarize=None the input should hold only zeros and ones, but it holds "
            f"{other}. Set binarize to a number above which values are ones."
        )


_UNKNOWN = "Input X contains NaN: of sparse rows all entries should be known"


def _unknown_in_sparse(X):
    return not isinstance(X, np.ndarray) and bool(np.isnan(X.data).any())


def _unknown_in_part(part):
    return _unknown_in_sparse(part.X)


class BernoulliMixture(MissingMixin, BaseMixture):
    """Mixture of independent Bernoulli features: clusters of rows of zeros and ones.

    Each component has a probability of a one for each feature.

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

    weights_init : array-like of shape (n_components,), default=None
        Weights to start from; None for equal ones.

    probabilities_init : array-like of shape (n_components, n_features), default=None
        Probabilities to start from; None for those of the rows nearest to seeds that k-means++
        draws. A probability of exactly 0 or 1 never changes, unless ``alpha`` is set.

    fixed : collection of {'weights', 'probabilities'}, default=()
        Parameters that stay as they start.

    assignment : {'soft', 'hard'}, default='soft'
        ``'hard'`` makes each row count for its most probable component only (classification EM);
        the objective is then the log-likelihood of rows and these components together.

    alpha : float, default=0.0
        Additive smoothing: a component's probability is estimated as if it had ``alpha`` more rows
        with the feature and ``alpha`` without. The objective then is the log-posterior under a
        Beta(1 + alpha, 1 + alpha) prior for each probability, but for a constant.

    binarize : float or None, default=0.0
        Values above are ones, others zeros. None if the input is zeros and ones already, which is
        checked.

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

    missing : {'error', 'em'}, default='error'
        ``'em'`` takes NaN in dense rows as not observed, and finds the parameters that are most
        likely given what was: each probability is estimated from the rows that have the feature.
        The start fills gaps by the more frequent value of their column.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components.

    probabilities_ : ndarray of shape (n_components, n_features)
        Each component's probabilities of ones.

    converged_ : bool
        Whether the best run has converged.

    n_iter_ : int
        Number of iterations of the best run.

    lower_bound_ : float
        The objective that the best run's last iteration began with: the rows' mean log-density if
        ``alpha`` is 0.

    lower_bounds_ : list of float
        The same for each iteration; for iterations of a search, the best known when they began.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    Dense rows are packed into bits, an eighth of their size as bytes; of CSR rows the ones are used
    where they are. All parameters and results are float64.

    A row that is impossible under all components, by probabilities of exactly 0 or 1, has a
    log-density of -inf and no responsibilities; a warning says so. In a fit it is an error, unless
    ``alpha`` makes it possible.

    The model and its EM steps are in C. M. Bishop, Pattern Recognition and Machine Learning, 2006,
    section 9.3.3. The search is after N. Ueda, R. Nakano, Z. Ghahramani and G. E. Hinton, "SMEM
    algorithm for mixture models", Neural Computation 12, 2000.

    Examples
    --------
    >>> from fastem import BernoulliMixture
    >>> X = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1]]
    >>> mixture = BernoulliMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.predict([[1, 1, 0, 0], [0, 0, 1, 1]])
    array([1, 0])
    """

    probabilities_: NDArray[np.floating[Any]]

    _parameter_constraints: dict = {
        **BaseMixture._parameter_constraints,
        "weights_init": ["array-like", None],
        "probabilities_init": ["array-like", None],
        "alpha": [Interval(Real, 0.0, None, closed="left")],
        "binarize": [Interval(Real, 0.0, None, closed="left"), None],
        "missing": [Words(["error", "em"])],
    }
    _fixable = ("weights", "probabilities")
    _impossible = IMPOSSIBLE

    def __init__(
        self,
        n_components: int = 1,
        *,
        tol: float = 1e-3,
        max_iter: int = 100,
        n_init: int = 1,
        weights_init: Any = None,
        probabilities_init: Any = None,
        fixed: Collection[str] = (),
        assignment: str = "soft",
        alpha: float = 0.0,
        binarize: float | None = 0.0,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        accelerate: str | None = None,
        search: str | None = None,
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
        self.weights_init = weights_init
        self.probabilities_init = probabilities_init
        self.alpha = alpha
        self.binarize = binarize
        self.missing = missing

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_input(self, X, *, reset):
        X = validate_data(
            self,
            plain_csr(X),
            reset=reset,
            accept_sparse="csr",
            dtype="numeric",
            ensure_all_finite="allow-nan" if self._gaps else True,
            ensure_min_samples=2 if reset else 1,
        )
        if self._gaps and _unknown_in_sparse(X):
            raise ValueError(_UNKNOWN)
        if self.binarize is None:
            _refuse(first_other(X))
        return X

    def _check_home(self, rows):
        check_home(self, rows, min_rows=2, gaps=self._gaps)
        if self._gaps and any(rows.map(_unknown_in_part)):
            raise ValueError(_UNKNOWN)
        if self.binarize is None:
            for other in rows.map(_first_other):
                _refuse(other)

    def _output_dtype(self, X):
        return np.dtype(np.float64)

    @property
    def _threshold(self):
        return 0.5 if self.binarize is None else self.binarize

    def _make_pass(self, X, sample_weight):
        gaps = self._gaps and has_gaps(X)
        return _make_pass(X, sample_weight, self._n_fitted, self._threshold, gaps)

    def _parameters(self):
        probabilities = fitted_array(self, "probabilities_", (None, None))
        if not ((probabilities >= 0.0).all() and (probabilities <= 1.0).all()):
            raise ValueError("The attribute 'probabilities_' should be in the range [0, 1]")
        return BernoulliParameters(fitted_weights(self, len(probabilities)), probabilities)

    def _n_features_of_parameters(self):
        shape = np.shape(getattr(self, "probabilities_", ()))
        return shape[1] if len(shape) == 2 else None

    def _components(self):
        return self._parameters().components()

    def _make_model(self, rows, **options):
        model = BernoulliModel(
            partial(_make_pass, n_components=self.n_components, threshold=self._threshold),
            given=self._check_given(rows.n_features),
            alpha=self.alpha,
            fixed=self.fixed,
            **options,
        )
        if self._gaps and gaps_in(rows):
            model.make_pass = partial(model.make_pass, gaps=True)
            model.gaps_above = self._threshold
        return model

    def _coordinates(self):
        return BernoulliCoordinates()

    def _parameters_to_resume(self, n_features):
        parameters = self._parameters()
        check_shape(parameters.probabilities, (self.n_components, n_features), "probabilities")
        return parameters

    def _check_given(self, n_features):
        """The initial weights and probabilities; None for those that aren't given."""
        weights, probabilities = self.weights_init, self.probabilities_init
        if weights is not None:
            weights = check_mixing_weights(weights, self.n_components)
        if probabilities is not None:
            probabilities = check_array(probabilities, dtype=np.float64, ensure_2d=False)
            check_shape(probabilities, (self.n_components, n_features), "probabilities")
            low, high = probabilities.min(), probabilities.max()
            if low < 0.0 or high > 1.0:
                raise ValueError(
                    "The parameter 'probabilities' should be in the range "
                    f"[0, 1], but got max value {high:.5f}, min value {low:.5f}"
                )
        return weights, probabilities

    def _attributes(self, parameters, dtype):
        return {f"{name}_": value for name, value in parameters._asdict().items()}

    def _n_parameters(self):
        n_components, n_features = np.shape(self.probabilities_)
        sizes = {"weights": n_components - 1, "probabilities": n_components * n_features}
        return sum(size for name, size in sizes.items() if name not in self.fixed)

    def _sample_component(self, component, size, random_state):
        probabilities = np.asarray(self.probabilities_)[component]
        return (random_state.uniform(size=(size, len(probabilities))) < probabilities).astype(float)

    def _fill(self, X, random_state):
        responsibilities = np.empty((len(X), self._n_fitted))
        self._evaluate(X, responsibilities=responsibilities)
        fill_gaps(X, self._parameters().probabilities, responsibilities, random_state)
