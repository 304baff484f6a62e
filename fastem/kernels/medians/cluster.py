"""The coordinate-wise medians of clusters, whose rows are visited through lists of members."""

import operator

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from fastem.kernels.medians.brackets import (
    BLOCK,
    Brackets,
    empty_brackets,
    find_medians,
    select_median,
)
from fastem.kernels.medians.members import (
    count_members,
    list_members,
    members_of,
    room_for_members,
)
from fastem.kernels.medians.selection import weighted_median
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div, summing_chunks, worthwhile_threads
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.inputs import check_numbers, convert, real_rows
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.tiles import tiles_fit


@kernel
def find_weighted_medians(
    tickets, n_tasks, X, sample_weight, members, starts, largest, wanted, medians
):
    """As ``brackets.find_medians`` with weights, by collecting all values: a task is one median.

    Parameters
    ----------
    X, members, starts, largest, wanted, medians
        As there.
    sample_weight : float64 array of shape (n_rows,)
    """
    n_features = X.shape[1]
    values, weights = np.empty(largest, X.dtype), np.empty(largest)
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        cluster, feature = task // n_features, task % n_features
        if not wanted[cluster, feature]:
            continue
        n_numbers = 0
        for i in range(starts[cluster], starts[cluster + 1]):
            value = X[members[i], feature]
            values[n_numbers], weights[n_numbers] = value, sample_weight[members[i]]
            n_numbers += value == value
        median = np.nan
        if n_numbers > 0:
            median = weighted_median(values, weights, n_numbers)
        medians[cluster, feature] = X.dtype.type(median)


@kernel
def select_medians(tickets, n_tasks, X, members, starts, wanted, medians):
    """As ``brackets.find_medians`` by selection among all values: a task is ``BLOCK`` features.

    Parameters
    ----------
    X, members, starts, wanted, medians
        As there.
    """
    n_clusters, n_features = wanted.shape
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        for cluster in range(n_clusters):
            start, stop = starts[cluster], starts[cluster + 1]
            for f in range(task * BLOCK, min((task + 1) * BLOCK, n_features)):
                if wanted[cluster, f]:
                    medians[cluster, f] = select_median(X, members, start, stop, f)


def update_medians(X, labels, sample_weight, chunk_rows, counts, wanted, brackets, medians):
    """Find the medians of the wanted clusters and features; the others stay as they are.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    labels : ndarray of shape (n_rows,), int32
    sample_weight : ndarray of shape (n_rows,) or (0,), float64
    chunk_rows : int
    counts : ndarray of shape (n_chunks, n_clusters), int64
        From :func:`fastem.kernels.medians.members.count_members`.
    wanted : ndarray of shape (n_clusters, n_features), bool
    brackets : Brackets or None
        To be kept around the medians found, unless there are weights.
    medians : ndarray of shape (n_clusters, n_features), in the rows' dtype
    """
    members, starts = members_of(wanted.any(axis=1), labels, sample_weight, chunk_rows, counts)
    largest = int(np.diff(starts).max())
    n_clusters, n_features = wanted.shape
    n_values = int(starts[-1]) * n_features
    if len(sample_weight):
        arguments = X, sample_weight, members, starts, largest, wanted, medians
        n_tasks = n_clusters * n_features
        run(find_weighted_medians, n_tasks, *arguments, most_threads=worthwhile_threads(n_values))
        return
    keep = brackets is not None
    if not keep and not tiles_fit(X):
        # Few long rows, beside which even empty brackets are large.
        arguments = X, members, starts, wanted, medians
        n_tasks = ceil_div(n_features, BLOCK)
        run(select_medians, n_tasks, *arguments, most_threads=worthwhile_threads(n_values))
        return
    if not keep:
        brackets = empty_brackets(n_clusters, n_features, 0, X.dtype)
    n_tasks = n_clusters * ceil_div(n_features, BLOCK)
    arguments = X, members, starts, largest, wanted, brackets, keep, medians
    run(find_medians, n_tasks, *arguments, most_threads=worthwhile_threads(n_values))


@kernel
def check(n_rows, labels, n_clusters, weights, weighted):
    """Refuse lengths and values that don't fit, with a ValueError."""
    if len(labels) != n_rows or (weighted and len(weights) != n_rows):
        raise ValueError("X, labels and sample_weight must have the same length")
    if n_clusters < 1:
        raise ValueError("n_clusters must be positive")
    for label in labels:
        if not (0 <= np.int64(label) < n_clusters):  # unsigned ones don't compare exactly
            raise ValueError("labels must be from 0 to n_clusters - 1")
    for weight in weights:
        if not (0 <= weight < np.inf):
            raise ValueError("sample_weight must be finite and not negative")


@kernel
def spread_nan(tickets, n_chunks, chunk_rows, X, labels, weights, medians):
    """Medians of clusters and features with a NaN are NaN."""
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(X))):
            if len(weights) and weights[row] == 0:
                continue
            for f in range(X.shape[1]):
                if X[row, f] != X[row, f]:
                    medians[labels[row], f] = np.nan


def as_arrays(X, labels, n_clusters, sample_weight):
    """What Python passes, checked, as the kernels take it; no weights are an empty array."""
    X = real_rows(X, "X")
    X = read_only(np.require(X, np.float32 if X.dtype == np.float32 else np.float64, ["C", "A"]))
    labels, n_clusters = _as_integers(labels, n_clusters)
    weights = np.empty(0) if sample_weight is None else np.asarray(sample_weight)
    if weights.dtype.kind not in "biuf" or weights.ndim != 1:
        raise ValueError("sample_weight must be a 1-D array of real numbers")
    weights = read_only(np.require(weights, np.float64, ["C", "A"]))
    dtype = np.int32 if labels.dtype == np.int32 else np.int64  # one kernel for all others
    labels = np.require(labels, dtype, ["C", "A"])
    check(len(X), read_only(labels), n_clusters, weights, sample_weight is not None)
    # Writeable, as those that kernels make.
    return X, np.require(labels, np.int32, ["C", "A", "W"]), n_clusters, weights


def _as_integers(labels, n_clusters):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError("labels must be a 1-D array of integers")
    try:
        return labels, operator.index(n_clusters)
    except TypeError:
        kind = type(n_clusters).__name__
        raise TypeError(f"n_clusters must be an instance of int, not {kind}") from None


def cluster_medians(
    X: np.ndarray,
    labels: np.ndarray,
    n_clusters: int,
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """The coordinate-wise median of every cluster's rows, by selection.

    Callable from Python and from functions under ``@njit``, where it takes arrays and runs on the
    calling thread.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    labels : array-like of shape (n_rows,), int
        Each row's cluster, from 0 to ``n_clusters - 1``.
    n_clusters : int
    sample_weight : array-like of shape (n_rows,), default=None
        Non-negative; None for ones. A row of weight zero has no influence.

    Returns
    -------
    medians : ndarray of shape (n_clusters, n_features)
        float32 if X is, else float64. As :func:`numpy.median`, the mean of the middle two values
        for an even number of rows; with weights the least value up to which half of the weight
        lies, or if exactly half does (up to the rounding of sums), its mean with the next greater
        value. NaN for clusters without rows, or without weight, and where a value is NaN.

    Raises
    ------
    TypeError
        If ``n_clusters`` is no integer.
    ValueError
        If X is not a 2-D array of real numbers, labels not a 1-D array of integers in range,
        sample_weight not one of real numbers that are finite and not negative, ``n_clusters`` not
        positive, or the lengths differ.
    """
    X, labels, n_clusters, weights = as_arrays(X, labels, n_clusters, sample_weight)
    chunk_rows, n_chunks = summing_chunks(X, X.shape[1], n_clusters)
    counts = np.zeros((n_chunks, n_clusters), np.int64)
    run(count_members, n_chunks, chunk_rows, labels, weights, counts)
    wanted = np.ones((n_clusters, X.shape[1]), bool)
    medians = np.empty(wanted.shape, X.dtype)
    update_medians(X, labels, weights, chunk_rows, counts, wanted, None, medians)
    run(spread_nan, n_chunks, chunk_rows, X, labels, weights, medians)
    return medians


@kernel
def room_for_medians(X, n_clusters, members, starts, weighted):
    """The number of tasks, and the last arguments of :func:`medians_pass`."""
    n_features = X.shape[1]
    largest = 0
    for j in range(n_clusters):
        largest = max(largest, starts[j + 1] - starts[j])
    wanted = np.ones((n_clusters, n_features), np.bool_)
    medians = np.empty((n_clusters, n_features), X.dtype)
    shape = (n_clusters, n_features)
    brackets = Brackets(
        np.empty(shape, X.dtype),
        np.empty(shape, X.dtype),
        np.empty(shape, np.int32),
        np.empty(shape, np.int32),
        np.empty(shape, np.int32),
        np.empty(shape, np.int32),
        np.empty((n_clusters, n_features, 0), X.dtype),
    )
    n_tasks = medians.size if weighted else n_clusters * ceil_div(n_features, BLOCK)
    return n_tasks, (members, starts, largest, wanted, brackets, medians)


@kernel
def medians_pass(
    tickets,
    n_tasks,
    X,
    weights,
    weighted,
    members,
    starts,
    largest,
    wanted,
    brackets,
    medians,
):
    """Find medians with weights or without."""
    if weighted:
        find_weighted_medians(
            tickets, n_tasks, X, weights, members, starts, largest, wanted, medians
        )
    else:
        find_medians(
            tickets, n_tasks, X, members, starts, largest, wanted, brackets, False, medians
        )


@kernel
def _cluster_medians_serial(X, labels, n_clusters, weights, weighted):
    check(len(X), labels, n_clusters, weights, weighted)
    labels, weights = labels.astype(np.int32), read_only(weights)
    everything = np.ones(n_clusters, np.bool_)
    counts = np.zeros((1, n_clusters), np.int64)
    count_members(np.zeros(1, np.int64), 1, len(X), labels, weights, counts)
    places, members, starts = room_for_members(everything, counts)
    list_members(
        np.zeros(1, np.int64), 1, len(X), labels, weights, everything, places, members
    )  # fmt: skip
    n_tasks, found = room_for_medians(X, n_clusters, members, starts, weighted)
    medians_pass(np.zeros(1, np.int64), n_tasks, X, weights, weighted, *found)
    medians = found[-1]
    spread_nan(np.zeros(1, np.int64), 1, len(X), X, labels, weights, medians)
    return medians


def weights_of(sample_weight):
    """In compiled code: the weights and True, or an empty array and False for None."""
    raise NotImplementedError("for kernels only")


def _is_none(kind):
    """Whether an argument of this type is None."""
    return kind is None or isinstance(kind, types.NoneType | types.Omitted)


@overload(weights_of)
def _weights_of(sample_weight):
    if _is_none(sample_weight):
        return lambda sample_weight: (np.empty(0), False)
    return lambda sample_weight: (sample_weight.astype(np.float64), True)


def _check_types(function, X, labels, n_clusters, sample_weight):
    """Refuse Numba's types of other arguments than compiled code may pass."""
    name = function.__name__
    if not isinstance(X, types.Array) or X.ndim != 2:
        raise TypingError(f"{name} takes a 2-D array, not {X}")
    check_numbers(function, X)
    if not isinstance(labels, types.Array) or labels.ndim != 1:
        raise TypingError(f"{name} takes a 1-D array of labels, not {labels}")
    if not isinstance(labels.dtype, types.Integer):
        raise TypingError(f"{name} takes labels that are integers, not {labels.dtype}")
    if not isinstance(n_clusters, types.Integer):
        raise TypingError(f"{name} takes an integer for n_clusters, not {n_clusters}")
    if not _is_none(sample_weight):
        if not isinstance(sample_weight, types.Array) or sample_weight.ndim != 1:
            raise TypingError(f"{name} takes a 1-D array of weights, not {sample_weight}")
        check_numbers(function, sample_weight)


def compiled_as(function, body):
    """Let compiled code that calls a function with these arguments run the kernel ``body``."""
    call = linked(body)

    @overload(function)
    def implementation(X, labels, n_clusters, sample_weight=None):
        _check_types(function, X, labels, n_clusters, sample_weight)
        return lambda X, labels, n_clusters, sample_weight=None: call(
            (convert(X, X), labels, np.int64(n_clusters), *weights_of(sample_weight))
        )


compiled_as(cluster_medians, _cluster_medians_serial)
