"""Dask arrays and data frames, as arrays whose blocks the kernels take."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import numpy as np
import scipy.sparse
from dask.core import flatten
from dask.optimization import cull

from fastem.validation import plain_csr


def block_array(X: Any) -> Any:
    """A collection as a Dask array of rows as the kernels take them.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame of shape (n_rows, n_features)
        Of numbers. An array may consist of sparse matrices.

    Returns
    -------
    dask.array.Array of float32 or float64
        Its blocks are C-contiguous arrays or CSR matrices: the collection's own where these are
        that already. The lengths of a data frame's are unknown.

    Raises
    ------
    ValueError, TypeError
        If these aren't rows of numbers; also, naming the partition, when a block is read that
        isn't what the collection has promised.
    """
    if getattr(X, "ndim", None) != 2:
        raise ValueError(
            "Expected a Dask array or data frame of two dimensions. Reshape your data either using "
            "X.reshape(-1, 1) if it has a single feature or X.reshape(1, -1) if it contains a "
            "single sample."
        )
    if not hasattr(X, "chunks"):
        dtype = _frame_dtype(X)
        X = X.map_partitions(_values, dtype, meta=np.empty((0, len(X.columns)), dtype))
    if math.isnan(X.shape[1]) or len(X.chunks[1]) > 1:
        raise ValueError(
            f"The Dask array is chunked along its columns, by {X.chunks[1]}, but a row should be "
            "in one chunk. Use X.rechunk({1: -1})."
        )
    if X.shape[1] == 0:
        raise ValueError("Found array with 0 feature(s) while a minimum of 1 is required.")
    dtype, sparse = kernel_dtype(X.dtype), scipy.sparse.issparse(X._meta)
    meta = scipy.sparse.csr_array((0, 0), dtype=dtype) if sparse else np.empty((0, 0), dtype)
    return X.map_blocks(as_rows, int(X.shape[1]), dtype, sparse, dtype=dtype, meta=meta)


def weight_array(sample_weight: Any) -> Any:
    """Weights of rows in a collection as a one-dimensional Dask array of float64."""
    if getattr(sample_weight, "ndim", None) != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if not hasattr(sample_weight, "chunks"):
        return sample_weight.map_partitions(_values, np.float64, meta=np.empty(0))
    return sample_weight.astype(np.float64)


def kernel_dtype(dtype: Any) -> np.dtype:
    """float32 for float32, float64 for other numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiubO":
        raise ValueError(f"Expected a Dask collection of numbers, but its dtype is {dtype}")
    return dtype if dtype == np.float32 else np.dtype(np.float64)


def _frame_dtype(X):
    dtypes = []
    for name, dtype in X.dtypes.items():
        # pandas' own dtypes of numbers tell NumPy's.
        own = getattr(dtype, "numpy_dtype", dtype)
        if not isinstance(own, np.dtype) or own.kind not in "fiub":
            raise ValueError(f"Column {name!r} of the data frame holds no numbers, but {dtype}")
        dtypes.append(own)
    return kernel_dtype(np.result_type(*dtypes)) if dtypes else np.dtype(np.float64)


def _values(frame, dtype):
    return frame.to_numpy(dtype, na_value=np.nan)


def as_rows(
    block: Any, n_features: int, dtype: np.dtype, sparse: bool, block_id: tuple[int, ...]
) -> Any:
    """A block as the kernels take it; no copy if it is that already."""
    name = f"Partition {block_id[0]}"
    if getattr(block, "ndim", None) != 2 or block.shape[1] != n_features:
        shape = getattr(block, "shape", None)
        raise ValueError(f"{name} has shape {shape}, but the collection has {n_features} features")
    if scipy.sparse.issparse(block) != sparse:
        kinds = ("a dense array", "a sparse matrix")
        raise ValueError(
            f"{name} is {kinds[not sparse]}, but the collection's meta is {kinds[sparse]}: pass "
            "meta to map_blocks, or to what made it"
        )
    try:
        if sparse:
            return plain_csr(block.astype(dtype, copy=False))
        return np.ascontiguousarray(block, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def block_lengths(array: Any, compute: Callable[[Any], np.ndarray]) -> list[int]:
    """The numbers of rows of an array's blocks, which are counted unless they are known.

    ``compute`` turns a Dask array of the counts into NumPy's.
    """
    if not any(math.isnan(length) for length in array.chunks[0]):
        return list(array.chunks[0])
    counts = array.map_blocks(_count, dtype=int, chunks=(1, 1), meta=np.empty((0, 0), int))
    return compute(counts).ravel().tolist()


def _count(block):
    return np.array([[block.shape[0]]])


def block_readers(array: Any) -> list[Callable[[], Any]]:
    """A function for each block that reads it, with as little of the graph as it takes."""
    (array,) = dask.optimize(array)
    graph = dict(array.__dask_graph__())
    keys = list(flatten(array.__dask_keys__()))
    return [partial(dask.get, cull(graph, [key])[0], key) for key in keys]


def check_length(shape: tuple[int, ...], n_rows: int) -> None:
    """Refuse weights that aren't one for each row, in scikit-learn's words."""
    if shape != (n_rows,):
        raise ValueError(f"sample_weight.shape == {shape}, expected {(n_rows,)}!")
