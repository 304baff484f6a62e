"""Input checks that the estimators share: scikit-learn's, in its words."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import assert_all_finite, validate_data

from fastem.kernels.columns.order import is_in_order
from fastem.sklearn_private import StrOptions, _check_sample_weight

# Kernels count columns in int32.
_MOST_COLUMNS = 2**31 - 1

_spare: list[np.random.RandomState] = []  # for further seeds; several threads take and leave them


class Words(StrOptions):
    """scikit-learn's constraint for words, which names them in the order given."""

    def __init__(self, words: Iterable[str]):
        self._words = list(dict.fromkeys(words))
        super().__init__(set(self._words))

    def __str__(self):
        return f"a str among {{{', '.join(map(repr, self._words))}}}"


def check_rows(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    sparse: bool = True,
    min_rows: int = 1,
    finite: bool = True,
    gaps: bool = False,
) -> Any:
    """The rows as the kernels take them; C-contiguous float input is not copied.

    Parameters
    ----------
    estimator : estimator
    X : array-like or sparse matrix of shape (n_rows, n_features)
    reset : bool
        Whether the estimator is being fitted: its number of features is set, not compared.
    sparse : bool
        Whether sparse rows are welcome.
    min_rows : int
        Fewest rows.
    finite : bool
        Whether values are certain to be finite. Else a caller whose own first pass over the rows
        shows that some are not calls :func:`check_finite` then, which spares a pass over arrays
        and sparse matrices.
    gaps : bool
        Whether values may be NaN.

    Returns
    -------
    ndarray or CSR matrix of shape (n_rows, n_features), float32 or float64

    Raises
    ------
    ValueError, TypeError
        scikit-learn's, for anything but finite numbers in two dimensions.
    """
    if (
        (_is_plain(X) or (sparse and _may_be_plain_csr(X)))
        and X.shape[0] >= min_rows
        and not hasattr(estimator, "feature_names_in_")
        and (reset or getattr(estimator, "n_features_in_", X.shape[1]) == X.shape[1])
        and not (finite and _may_be_infinite(X))
        and (type(X) is np.ndarray or _is_plain_csr(X))
    ):
        if reset:
            estimator.n_features_in_ = X.shape[1]
        return X
    return validate_data(
        estimator,
        plain_csr(X) if sparse else X,
        reset=reset,
        accept_sparse="csr" if sparse else False,
        accept_large_sparse=True,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_all_finite="allow-nan" if gaps else finite or not scipy.sparse.issparse(X),
        ensure_min_samples=min_rows,
    )


def plain_csr(X: Any) -> Any:
    """Sparse rows as CSR whose entries are summed, a copy if they aren't; anything else as it is.

    Raises
    ------
    ValueError
        If indices lead outside the matrix, or if there are more columns than kernels can count.
    """
    if not scipy.sparse.issparse(X) or X.ndim != 2 or _is_plain_csr(X):
        return X
    if X.format in ("csr", "csc", "bsr"):
        _check_compressed(X)
    elif X.format == "coo":
        _check_indices(X.row, X.shape[0], "row")
        _check_indices(X.col, X.shape[1], "column")
    if X.shape[1] > _MOST_COLUMNS:
        raise ValueError(f"Sparse rows should have at most {_MOST_COLUMNS} columns")
    if X.format != "csr":
        return X.tocsr()
    # Anew, since what the matrix knows of its order may be out of date.
    csr = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
    csr.prune()
    if csr.has_canonical_format:
        return X if len(csr.data) == len(X.data) else csr
    csr = csr.copy()
    csr.sum_duplicates()
    return csr


def _is_plain_csr(X):
    """Whether sparse rows need neither be converted nor complained of, found in one pass."""
    return (
        X.format == "csr"
        and X.shape[1] <= _MOST_COLUMNS
        and all(
            type(array) is np.ndarray
            and array.ndim == 1
            and array.flags.c_contiguous
            and array.dtype.isnative
            for array in (X.data, X.indices, X.indptr)
        )
        and X.indices.dtype == np.int32
        and X.indptr.dtype.char in "il"
        and len(X.data) == len(X.indices)
        and len(X.indptr) == X.shape[0] + 1
        and is_in_order(X.indices, X.indptr, X.shape[1])
    )


def _check_compressed(X):
    """Check the indices of a compressed matrix, which SciPy takes on trust."""
    block = X.blocksize if X.format == "bsr" else (1, 1)
    n_major, n_minor = X.shape[0] // block[0], X.shape[1] // block[1]
    if X.format == "csc":
        n_major, n_minor = n_minor, n_major
    indptr, indices = X.indptr, X.indices
    if len(indptr) != n_major + 1 or indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(
            f"The sparse matrix is malformed: 'indptr' should have {n_major + 1} values that start "
            "at 0 and never fall"
        )
    if indptr[-1] > min(len(indices), len(X.data)):
        raise ValueError(
            f"The sparse matrix is malformed: 'indptr' ends at {indptr[-1]}, but there are "
            f"{len(indices)} indices and {len(X.data)} values"
        )
    _check_indices(indices[: indptr[-1]], n_minor, "row" if X.format == "csc" else "column")


def _check_indices(indices, size, name):
    if len(indices) and not (indices.min() >= 0 and indices.max() < size):
        raise ValueError(
            f"The sparse matrix is malformed: it has {name} indices from {indices.min()} to "
            f"{indices.max()}, but {size} {name}s"
        )


def _is_plain(X):
    """Whether rows are what scikit-learn's checks would return unchanged, if finite.

    Those take as long as several iterations on small data.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.size > 0
        and X.dtype.char in "fd"
        and X.dtype.isnative
        and X.flags.c_contiguous
    )


def _may_be_plain_csr(X):
    """Likewise, whether sparse rows are, if :func:`_is_plain_csr` finds no fault with them."""
    return (
        type(X) in (scipy.sparse.csr_matrix, scipy.sparse.csr_array)
        and X.ndim == 2
        and X.shape[1] > 0
        and X.dtype.char in "fd"
    )


@np.errstate(over="ignore", invalid="ignore")
def _may_be_infinite(X):
    values = X if isinstance(X, np.ndarray) else X.data
    return not np.isfinite(values.sum())


@contextmanager
def random_numbers(seed: Any, kept: bool = False) -> Iterator[np.random.RandomState]:
    """What scikit-learn's ``check_random_state`` makes of a seed, for as long as the context.

    To make a ``RandomState`` takes a tenth of a small fit, as NumPy asks the system for randomness
    first: one that is at hand is seeded anew.

    Parameters
    ----------
    seed : None, int or RandomState
    kept : bool
        Whether somebody may use it beyond the context.

    Yields
    ------
    RandomState
    """
    if kept or not isinstance(seed, Integral):
        yield check_random_state(seed)
        return
    try:
        random_state = _spare.pop()
    except IndexError:
        random_state = np.random.RandomState()
    random_state.seed(int(seed))
    yield random_state
    _spare.append(random_state)


def check_finite(estimator: Any, X: Any) -> None:
    """Refuse rows that are not finite, as :func:`check_rows` does.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    assert_all_finite(X, estimator_name=estimator.__class__.__name__, input_name="X")


def check_weights(sample_weight: Any, X: Any) -> np.ndarray | None:
    """The rows' weights in float64; None stays None.

    Raises
    ------
    ValueError
        If a weight is NaN, infinite or negative, if all are zero, or if the shape is wrong.
    """
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


def check_fitted_centers(estimator: Any, X: Any) -> np.ndarray:
    """The fitted centres, or those that a user has set, as C-contiguous float32 or float64.

    Raises
    ------
    ValueError, TypeError
        If they aren't finite numbers in two dimensions, as many as checked rows ``X`` have.
    """
    centers = estimator.cluster_centers_
    if not _is_plain(centers) or _may_be_infinite(centers):
        centers = check_array(
            centers, dtype=[np.float64, np.float32], order="C", input_name="cluster_centers_"
        )
    if centers.shape[1] != X.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{centers.shape[1]} features as input."
        )
    return centers


def check_shape(array: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """Raise scikit-learn's ValueError if an array isn't of this shape."""
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )


@contextmanager
def restored_on_failure(estimator: Any) -> Iterator[None]:
    """Give the estimator its fitted attributes back if the fit fails or is interrupted.

    So an estimator is unfitted, or as fitted before, until a fit succeeds.
    """
    state = vars(estimator)
    before = state.copy()
    try:
        yield
    except BaseException:
        for name in list(filter(_is_fitted, state)):
            del state[name]
        state.update({name: before[name] for name in filter(_is_fitted, before)})
        raise


def _is_fitted(name):
    return name.endswith("_") and not name.startswith("_")


def without_rows(estimator: Any) -> Any:
    """A copy of a fitted estimator that knows nothing of the rows it was fitted to."""
    estimator = copy.copy(estimator)
    for name in ("labels_", "feature_names_in_"):
        vars(estimator).pop(name, None)
    return estimator


def check_mixing_weights(weights: Any, n_components: int, leave_some: bool = False) -> np.ndarray:
    """Mixing weights in float64.

    Raises
    ------
    ValueError
        If their shape is wrong or they aren't probabilities that sum to one, in scikit-learn's
        words; or if they are to leave some to noise, and don't.
    """
    weights = check_array(weights, dtype=[np.float64, np.float32], ensure_2d=False)
    check_shape(weights, (n_components,), "weights")
    low, high, total = weights.min(), weights.max(), weights.sum(dtype=np.float64)
    if low < 0.0 or high > 1.0:
        raise ValueError(
            "The parameter 'weights' should be in the range "
            f"[0, 1], but got max value {high:.5f}, min value {low:.5f}"
        )
    if leave_some:
        if not 0.0 < total < 1.0 - 1e-6:
            raise ValueError(
                "The parameter 'weights' should sum to less than one, which leaves the rest to the "
                f"noise component, but got sum(weights) = {total:.5f}"
            )
    elif abs(1.0 - total) > (1e-6 if weights.dtype == np.float32 else 1e-8):
        raise ValueError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {total:.5f}"
        )
    return weights.astype(np.float64)
