"""Dask's collections, recognised without an import of Dask."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from fastem.rows.home import Rows

Method = TypeVar("Method", bound=Callable)


def is_collection(X: Any) -> bool:
    """Whether this is one of Dask's collections."""
    # Dask has been imported where one was made.
    return "dask" in sys.modules and hasattr(X, "__dask_graph__")


def home_of(X: Any, sample_weight: Any = None) -> Rows | None:
    """The home of what a user fits to, if that isn't an array or a matrix.

    This is the place where further kinds of collections become homes of rows: recognised by their
    type without an import of the package that defines it.

    Parameters
    ----------
    X : Rows, or anything else
    sample_weight : object
        As given along with ``X``.

    Returns
    -------
    Rows or None
        None for arrays, matrices and all that scikit-learn's checks convert to these.
    """
    if is_collection(X):
        from fastem.rows.dask import dask_rows

        return dask_rows(X, sample_weight)
    if not isinstance(X, Rows):
        return None
    if sample_weight is not None:
        raise ValueError("These rows bring their weights along: sample_weight should be None.")
    return X


def blockwise(
    dtype_of: Callable[[Any, Any], Any], n_columns: Callable[[Any], int] | None = None
) -> Callable[[Method], Method]:
    """Have an estimator's method return a lazy Dask array for the rows of a collection.

    Parameters
    ----------
    dtype_of : callable
        ``dtype_of(estimator, rows)`` is the results' dtype; ``rows.dtype`` is the rows'.
    n_columns : callable or None
        ``n_columns(estimator)`` is how many values a row has; None for results of one dimension.
    """

    def decorate(method):
        @wraps(method)
        def for_any_rows(self, X, *args, **options):
            if not is_collection(X):
                return method(self, X, *args, **options)
            if any(value is not None for value in (*args, *options.values())):
                raise TypeError(f"{method.__name__} takes nothing along with a Dask collection")
            from fastem.rows.dask.lazy import lazily

            return lazily(self, method.__name__, X, dtype_of, n_columns)

        return for_any_rows

    return decorate
