"""How the blocks of a collection come to a cluster's workers."""

import math
from typing import Any

import dask.array as da
import numpy as np
from dask.core import flatten
from distributed import Client, futures_of

from fastem.rows.dask.cluster import Blocks, finish, settle, told_plainly
from fastem.rows.dask.collection import (
    block_lengths,
    block_readers,
    check_length,
    weight_array,
)

# The share of the workers' memory that rows may take; others are read anew in each pass.
_MOST_MEMORY = 0.5


def place_blocks(client: Client, X: Any, array: Any, sample_weight: Any) -> Blocks:
    """Have the blocks of ``array = block_array(X)`` on the workers, or what reads them there."""
    with told_plainly(client):
        return _place(client, X, array, sample_weight)


def _place(client, X, array, sample_weight):
    if _fits(client, X, array):
        rows = _persisted(client, array)
        settle(client, rows)
        lengths = finish(client, client.map(_n_rows, rows, pure=False))
    else:
        lengths = _block_lengths(client, array)
        rows = _reading(client, array)
    weights = [None] * len(rows)
    if sample_weight is not None:
        weights = _persisted(client, _aligned(sample_weight, lengths))
        settle(client, weights)
        if finish(client, client.map(_n_rows, weights, pure=False)) != lengths:
            raise ValueError("The partitions of sample_weight should be as long as those of X")
    full = [number for number, length in enumerate(lengths) if length > 0]
    return Blocks(
        rows=[rows[number] for number in full],
        weights=[weights[number] for number in full],
        lengths=[lengths[number] for number in full],
        numbers=full,
        n_blocks=len(rows),
    )


def _fits(client, X, array):
    """Whether rows may be kept in the workers' memory; matrices are taken to fit."""
    kept_already = len(futures_of(X)) == array.npartitions
    if kept_already or not isinstance(array._meta, np.ndarray):
        return True
    nbytes = sum(_block_lengths(client, array)) * array.shape[1] * array.dtype.itemsize
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    # Where there are no workers yet, those to come may be large.
    limits = [worker["memory_limit"] or math.inf for worker in workers] or [math.inf]
    return nbytes <= _MOST_MEMORY * sum(limits)


def _block_lengths(client, array):
    return block_lengths(
        array, lambda counts: np.concatenate(finish(client, _persisted(client, counts)))
    )


def _persisted(client, array):
    """Futures of the array's blocks, in their order."""
    array = client.persist(array)
    futures = {future.key: future for future in futures_of(array)}
    return [futures[key] for key in flatten(array.__dask_keys__())]


def _reading(client, array):
    """Futures of functions that read the blocks, consecutive ones on one worker."""
    readers = block_readers(array)
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    return [
        client.submit(
            _itself,
            reader,
            workers=[workers[number * len(workers) // len(readers)]],
            allow_other_workers=True,
            pure=False,
        )
        for number, reader in enumerate(readers)
    ]


def _aligned(sample_weight, lengths):
    """Weights in blocks of these lengths, or in as many as there are where theirs are unknown."""
    if not hasattr(sample_weight, "__dask_graph__"):
        sample_weight = np.asarray(sample_weight, np.float64)
        check_length(sample_weight.shape, sum(lengths))
        return da.from_array(sample_weight, chunks=(tuple(lengths),))
    weights = weight_array(sample_weight)
    if not math.isnan(weights.shape[0]):
        check_length(weights.shape, sum(lengths))
        return weights.rechunk((tuple(lengths),))
    if weights.npartitions != len(lengths):
        raise ValueError(
            f"sample_weight has {weights.npartitions} partitions of unknown lengths, but X has "
            f"{len(lengths)}"
        )
    return weights


def _n_rows(block):
    return block.shape[0]


def _itself(thing):
    return thing
