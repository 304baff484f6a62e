"""Input checks that the estimators share: scikit-learn's, in its words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import assert_all_finite, validate_data

from fastem.sklearn_private import _check_sample_weight

_SET_BY_VALIDATION = ("n_features_in_", "feature_names_in_")


def check_rows(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    sparse: bool = True,
    min_rows: int = 1,
    finite: bool = True,
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
        shows that some are not calls :func:`check_finite` then, which spares a pass.

    Returns
    -------
    ndarray or CSR matrix of shape (n_rows, n_features), float32 or float64

    Raises
    ------
    ValueError, TypeError
        scikit-learn's, for anything but finite numbers in two dimensions.
    """
    if (
        _is_plain(X)
        and len(X) >= min_rows
        and not hasattr(estimator, "feature_names_in_")
        and (reset or getattr(estimator, "n_features_in_", X.shape[1]) == X.shape[1])
        and not (finite and _may_be_infinite(X))
    ):
        if reset:
            estimator.n_features_in_ = X.shape[1]
        return X
    return validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr" if sparse else False,
        accept_large_sparse=False,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_min_samples=min_rows,
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


@np.errstate(over="ignore", invalid="ignore")
def _may_be_infinite(X):
    return not np.isfinite(X.sum())


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


def check_shape(array: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """Raise scikit-learn's ValueError if an array isn't of this shape."""
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )


@contextmanager
def restored_on_failure(estimator: Any) -> Iterator[None]:
    """Undo what validation sets on the estimator if the fit fails or is interrupted.

    So an estimator is unfitted, or as fitted before, until a fit succeeds.
    """
    state = vars(estimator)
    before = {name: state[name] for name in _SET_BY_VALIDATION if name in state}
    try:
        yield
    except BaseException:
        for name in _SET_BY_VALIDATION:
            state.pop(name, None)
        state.update(before)
        raise


def check_mixing_weights(weights: Any, n_components: int) -> np.ndarray:
    """Mixing weights in float64.

    Raises
    ------
    ValueError
        If their shape is wrong or they aren't probabilities that sum to one, in scikit-learn's
        words.
    """
    weights = check_array(weights, dtype=[np.float64, np.float32], ensure_2d=False)
    check_shape(weights, (n_components,), "weights")
    low, high, total = weights.min(), weights.max(), weights.sum(dtype=np.float64)
    if low < 0.0 or high > 1.0:
        raise ValueError(
            "The parameter 'weights' should be in the range "
            f"[0, 1], but got max value {high:.5f}, min value {low:.5f}"
        )
    if abs(1.0 - total) > (1e-6 if weights.dtype == np.float32 else 1e-8):
        raise ValueError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {total:.5f}"
        )
    return weights.astype(np.float64)
