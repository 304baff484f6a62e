"""What a fitted estimator says of the rows of a collection, block by block once that is asked."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from fastem.rows.dask.collection import block_array
from fastem.validation import without_rows


def lazily(
    estimator: Any,
    method: str,
    X: Any,
    dtype_of: Callable[[Any, Any], Any],
    n_columns: Callable[[Any], int] | None,
) -> Any:
    """The method's results for the rows of a collection.

    Parameters
    ----------
    estimator : estimator
        Fitted; what is set later plays no part.
    method : str
        The name of a method that returns a value, or some values, for each row.
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_rows, n_features)
    dtype_of, n_columns
        As of :func:`fastem.rows.collections.blockwise`.

    Returns
    -------
    dask.array.Array of shape (n_rows,) or (n_rows, number of values)
        With the chunks of ``X``.
    """
    check_is_fitted(estimator)
    array = block_array(X)
    # Names and number of features are scikit-learn's to compare, the rest is what blocks are.
    sample = X._meta if hasattr(X, "columns") else np.empty((0, array.shape[1]))
    validate_data(estimator, sample, reset=False, skip_check_array=True)
    estimator = without_rows(estimator)
    if n_columns is None:
        like = np.empty(0, dtype_of(estimator, array))
        shape: dict[str, Any] = {"drop_axis": 1}
    else:
        like = np.empty((0, n_columns(estimator)), dtype_of(estimator, array))
        shape = {"chunks": (array.chunks[0], like.shape[1:])}
    of_block = partial(_of_block, estimator=estimator, method=method, like=like)
    return array.map_blocks(of_block, meta=like, **shape)


def _of_block(block, estimator, method, like):
    return getattr(estimator, method)(block) if block.shape[0] else like
