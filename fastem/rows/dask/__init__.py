"""Rows in a Dask array or data frame: on the workers of a cluster, or streamed through here."""

from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from fastem.rows.dask.collection import (
    block_array,
    block_lengths,
    block_readers,
    check_length,
    weight_array,
)
from fastem.rows.home import Rows
from fastem.rows.stream import StreamedRows, streamed_parts


def dask_rows(X: Any, sample_weight: Any = None) -> Rows:
    """Rows of a Dask array or data frame.

    Where Dask would compute on a cluster, they live on its workers; otherwise their blocks are
    streamed through this process.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_rows, n_features)
        Of numbers, chunked along the rows only. An array may consist of CSR matrices. Its blocks
        must be the same each time that they are computed.
    sample_weight : None, collection or array-like of shape (n_rows,)
        The blocks of a collection whose lengths are unknown are as long as those of ``X``.

    Returns
    -------
    Rows
    """
    array = block_array(X)
    client = _client_of(array)
    if client is None:
        rows: Rows = _streamed(array, sample_weight)
    else:
        from fastem.rows.dask.cluster import ClusterRows  # loads distributed
        from fastem.rows.dask.placing import place_blocks

        rows = ClusterRows(client, place_blocks(client, X, array, sample_weight), *_kind(array))
    rows.feature_names = _names(X)
    return rows


def _client_of(collection):
    """The client by which Dask would compute a collection, if it would by one."""
    scheduler = dask.base.get_scheduler(collections=[collection])
    client = getattr(scheduler, "__self__", None)
    return client if hasattr(client, "who_has") else None


def _kind(array):
    """Number of features, dtype, and whether rows are sparse."""
    return int(array.shape[1]), array.dtype, not isinstance(array._meta, np.ndarray)


def _streamed(array, sample_weight):
    lengths = block_lengths(array, lambda counts: counts.compute(scheduler="sync"))
    if hasattr(sample_weight, "__dask_graph__"):
        sample_weight = weight_array(sample_weight).compute(scheduler="sync")
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, np.float64)
        check_length(sample_weight.shape, sum(lengths))
    parts = streamed_parts(block_readers(array), lengths, sample_weight)
    container = partial(da.from_array, chunks=(tuple(lengths),))
    return StreamedRows(parts, *_kind(array), container)


def _names(X):
    """A data frame's column names if they are strings, as scikit-learn keeps them."""
    names = list(getattr(X, "columns", ()))
    if not any(isinstance(name, str) for name in names):
        return None
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your "
            "input has mixed types of column names."
        )
    return np.array(names, object)
