"""What estimators check of rows that have a home: as of arrays, but where the rows are."""

from typing import Any

import numpy as np
import scipy.sparse

from fastem.rows.choice import count_positive
from fastem.rows.home import Rows
from fastem.rows.part import Part
from fastem.validation import check_finite

_BLOCK_VALUES = 1 << 16


def check_home(
    estimator: Any,
    rows: Rows,
    *,
    sparse: bool = True,
    min_rows: int = 1,
    finite: bool = True,
    gaps: bool = False,
) -> None:
    """Check all rows for a fit, as :func:`fastem.validation.check_rows` does for an array.

    Parameters
    ----------
    estimator : estimator
        Gets the rows' number of features, and their names if they have any.
    rows : Rows
    sparse : bool
        Whether sparse rows are welcome.
    min_rows : int
        Fewest rows.
    finite : bool
        Whether values are certain to be finite. Else a caller whose own first pass over the rows
        shows that some are not calls :func:`check_finite_rows` then.
    gaps : bool
        Whether values may be NaN.

    Raises
    ------
    ValueError, TypeError
        As for arrays; what is wrong in one part names the part and the row.
    """
    name = type(estimator).__name__
    if rows.sparse and not sparse:
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert "
            "to a dense numpy array."
        )
    shape = rows.n_rows, rows.n_features
    for size, least, what in ((shape[0], min_rows, "sample"), (shape[1], 1, "feature")):
        if size < least:
            raise ValueError(
                f"Found array with {size} {what}(s) (shape={shape}) while a minimum of {least} is "
                f"required by {name}."
            )
    _raise_first(rows.map(_fault, rows.n_features, rows.dtype, rows.sparse, rows.weighted))
    if gaps:
        _raise_first(rows.map(_not_finite, name, gaps))
    elif finite:
        check_finite_rows(estimator, rows, rows)
    if rows.weighted and rows.reduce(count_positive) == 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    estimator.n_features_in_ = rows.n_features
    if rows.feature_names is not None:
        estimator.feature_names_in_ = rows.feature_names
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def check_finite_rows(estimator: Any, X: Any, rows: Rows) -> None:
    """Refuse rows that are not finite.

    Parameters
    ----------
    estimator : estimator
    X : object
        The rows as they were given: of an array the error is scikit-learn's, else it names the
        first part and row.
    rows : Rows

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    if isinstance(X, np.ndarray) or scipy.sparse.issparse(X):
        check_finite(estimator, X)
    _raise_first(rows.map(_not_finite, type(estimator).__name__))


def _raise_first(faults):
    for fault in faults:
        if fault is not None:
            raise ValueError(fault)


# The steps that run where the rows are: each returns what is wrong, or None.


def _fault(part: Part, n_features, dtype, sparse, weighted):
    if part.in_memory:  # else its kind is checked whenever it is read
        fault = _fault_of_kind(part, n_features, dtype, sparse)
        if fault is not None:
            return fault
    return _fault_of_weights(part, weighted)


def _fault_of_kind(part, n_features, dtype, sparse):
    X = part.X
    where = f"part {part.number} of the rows"
    if X.shape[1] != n_features:
        return f"X has {X.shape[1]} features in {where}, but {n_features} in others."
    if X.dtype != dtype or dtype not in (np.float32, np.float64):
        return f"X should be float32 or float64 in all parts, but is {X.dtype} in {where}."
    if isinstance(X, np.ndarray) == sparse:
        return f"X should be sparse in all parts or in none, but is a {type(X)} in {where}."
    if not sparse and not X.flags.c_contiguous:
        return f"X should be C-contiguous, but isn't in {where}."
    return None


def _fault_of_weights(part, weighted):
    weight = part.sample_weight
    where = f"part {part.number} of the rows"
    if (weight is not None) != weighted:
        return f"All parts of the rows should have weights or none, unlike {where}."
    if weight is None:
        return None
    if weight.shape != (part.n_rows,) or weight.dtype != np.float64:
        return f"Sample weights should be float64 and one for each row, but aren't in {where}."
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0.0)))
    if len(wrong) == 0:
        return None
    value = weight[wrong[0]]
    reason = f"negative: {value}" if value < 0.0 else "NaN" if np.isnan(value) else "infinite"
    return f"Input sample_weight is {reason} {_place(part, wrong[0])}."


@np.errstate(over="ignore", invalid="ignore")
def _not_finite(part, estimator_name, gaps=False):
    X = part.X
    dense = isinstance(X, np.ndarray)
    values = X if dense else X.data
    if np.isfinite(values.sum()):  # much faster than looking at each
        return None
    step = max(1, _BLOCK_VALUES // X.shape[1]) if dense else _BLOCK_VALUES
    for start in range(0, len(values), step):
        block = values[start : start + step]
        wrong = np.argwhere(np.isinf(block) if gaps else ~np.isfinite(block))
        if len(wrong):
            first = start + wrong[0, 0]
            row = first if dense else np.searchsorted(X.indptr, first, side="right") - 1
            value = values[first, wrong[0, 1]] if dense else values[first]
            what = "NaN" if np.isnan(value) else f"infinity or a value too large for {X.dtype!r}"
            return f"Input X of {estimator_name} contains {what} {_place(part, row)}."
    return None


def _place(part, row):
    return f"in row {row} of part {part.number} (row {part.offset + row} of all)"
