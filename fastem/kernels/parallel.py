"""The public kernels on Numba's threads, for users' own parallel code.

Numba's threads take chunks of work from a shared counter as fastem's own threads do: the kernels
that do the work are the same ones. What Numba's threading layers allow holds here, too: the default
one of a pip installation (GNU OpenMP) can't be used in a process that was forked after its first
use, and ``workqueue`` neither from several threads nor nested.
"""

import numpy as np
from numba import prange

from fastem.kernels.bernoulli import log_density as _bernoulli
from fastem.kernels.distances import nearest_row as _nearest_row
from fastem.kernels.distances import pairwise as _pairwise
from fastem.kernels.gaussian import log_density as _gaussian
from fastem.kernels.linalg import cholesky as _cholesky
from fastem.kernels.medians import cluster as _medians
from fastem.kernels.medians import members as _members
from fastem.kernels.mixtures import responsibilities as _responsibilities
from fastem.kernels.runtime.arrays import large_empty, read_only
from fastem.kernels.runtime.chunks import row_chunks, summing_chunks
from fastem.kernels.runtime.compiling import kernel, parallel_kernel
from fastem.kernels.runtime.inputs import as_pair, compiled_as
from fastem.kernels.runtime.linking import (
    failed,
    linked,
    perform,
    task_of,
    threads_for,
)

__all__ = [
    "bernoulli_log_density",
    "cholesky",
    "cluster_medians",
    "gaussian_log_density",
    "manhattan",
    "nearest",
    "normalize_responsibilities",
    "squared_euclidean",
]

_pack = linked(_nearest_row.pack)
_nearest = task_of(_nearest_row.nearest_pass)
_squared_euclidean = task_of(_pairwise.squared_euclidean_pass)
_manhattan = task_of(_pairwise.manhattan_pass)
_check_labels = linked(_medians.check)
_count_members = task_of(_members.count_members)
_room_for_members = linked(_members.room_for_members)
_list_members = task_of(_members.list_members)
_room_for_medians = linked(_medians.room_for_medians)
_find_medians = task_of(_medians.medians_pass)
_spread_nan = task_of(_medians.spread_nan)
_factor = task_of(_cholesky.factor_pass)
_gaussian_rows = task_of(_gaussian.gaussian_rows)
_bernoulli_rows = task_of(_bernoulli.bernoulli_rows)
_check_gaussian = linked(_gaussian.serial)
_check_probabilities = linked(_bernoulli.check_probabilities)
_normalize = task_of(_responsibilities.normalize_pass)
_check_components = linked(_responsibilities.check_components)

_EXPONENTIAL = 16  # multiplications


@parallel_kernel
def _on_all_threads(task, n_chunks):
    for _ in prange(threads_for(n_chunks)):
        perform(task)


@kernel
def _perform(task, n_chunks, arguments):
    """Have the threads share a task."""
    _on_all_threads(task, n_chunks)
    if failed(task, arguments):
        raise MemoryError


def nearest(X, Y):
    """As :func:`fastem.kernels.nearest`, to the last bit, on Numba's threads."""
    return _nearest_rows(*as_pair(X, Y, True))


@kernel
def _nearest_rows(X, Y):
    X, Y = as_pair(X, Y, True)
    labels, distances = large_empty(len(X), np.int32), large_empty(len(X), X.dtype)
    chunk_rows, n = row_chunks(len(X), X.shape[1] * len(Y))
    arguments = (np.zeros(1, np.int64), n, chunk_rows, X, _pack((Y,)), labels, distances)
    _perform(_nearest(arguments), n, arguments)
    return labels, distances


compiled_as(nearest, _nearest_rows)


def squared_euclidean(X, Y):
    """As :func:`fastem.kernels.squared_euclidean`, to the last bit, on Numba's threads."""
    return _all_squared_euclidean(*as_pair(X, Y))


@kernel
def _all_squared_euclidean(X, Y):
    X, Y = as_pair(X, Y)
    distances = large_empty((len(X), len(Y)), X.dtype)
    n = _pairwise.chunk_shape(len(X), len(Y), X.shape[1])[2]
    arguments = (np.zeros(1, np.int64), n, X, Y, distances)
    _perform(_squared_euclidean(arguments), n, arguments)
    return distances


compiled_as(squared_euclidean, _all_squared_euclidean)


def manhattan(X, Y):
    """As :func:`fastem.kernels.manhattan`, to the last bit, on Numba's threads."""
    return _all_manhattan(*as_pair(X, Y))


@kernel
def _all_manhattan(X, Y):
    X, Y = as_pair(X, Y)
    distances = large_empty((len(X), len(Y)), X.dtype)
    n = _pairwise.chunk_shape(len(X), len(Y), X.shape[1])[2]
    arguments = (np.zeros(1, np.int64), n, X, Y, distances)
    _perform(_manhattan(arguments), n, arguments)
    return distances


compiled_as(manhattan, _all_manhattan)


def cluster_medians(X, labels, n_clusters, sample_weight=None):
    """As :func:`fastem.kernels.cluster_medians`, to the last bit, on Numba's threads."""
    arrays = _medians.as_arrays(X, labels, n_clusters, sample_weight)
    return _medians_of_clusters(*arrays, sample_weight is not None)


@kernel
def _medians_of_clusters(X, labels, n_clusters, weights, weighted):
    everything = np.ones(n_clusters, np.bool_)
    chunk_rows, n = summing_chunks(X, X.shape[1], n_clusters)
    counts = np.zeros((n, n_clusters), np.int64)
    counting = (np.zeros(1, np.int64), n, chunk_rows, labels, weights, counts)
    _perform(_count_members(counting), n, counting)
    places, members, starts = _room_for_members((everything, counts))
    listing = (
        np.zeros(1, np.int64), n, chunk_rows, labels, weights, everything, places, members
    )  # fmt: skip
    _perform(_list_members(listing), n, listing)
    n_tasks, found = _room_for_medians((X, n_clusters, members, starts, weighted))
    finding = (np.zeros(1, np.int64), n_tasks, X, weights, weighted, *found)
    _perform(_find_medians(finding), n_tasks, finding)
    spreading = (np.zeros(1, np.int64), n, chunk_rows, X, labels, weights, found[-1])
    _perform(_spread_nan(spreading), n, spreading)
    return found[-1]


_found_medians = linked(_medians_of_clusters)


@kernel
def _cluster_medians(X, labels, n_clusters, weights, weighted):
    _check_labels((len(X), labels, n_clusters, weights, weighted))
    return _found_medians(
        (X, labels.astype(np.int32), n_clusters, read_only(weights), weighted)
    )  # fmt: skip


_medians.compiled_as(cluster_medians, _cluster_medians)


def cholesky(A):
    """As :func:`fastem.kernels.cholesky`, to the last bit; a stack's matrices are shared out."""
    A = _cholesky.as_matrices(A)
    return _factors(A) if A.ndim == 3 else _factors(A[np.newaxis])[0]


@kernel
def _factors(A):
    rows, columns = A.shape[1:]
    if rows != columns:
        raise ValueError("A must be a square matrix or a stack of them")
    L = large_empty(A.shape, A.dtype)
    n = len(A)
    definite = np.empty(n, np.bool_)
    arguments = (np.zeros(1, np.int64), n, A, L, definite)
    _perform(_factor(arguments), n, arguments)
    for k in range(n):
        if not definite[k]:
            raise np.linalg.LinAlgError("Matrix is not positive definite")
    return L


@kernel
def _factor_of_one(A):
    return _factors(A.reshape((1, *A.shape)))[0]


_cholesky.compiled_as(cholesky, _factor_of_one, _factors)


def gaussian_log_density(X, means, precisions_cholesky, covariance_type="full"):
    """As :func:`fastem.kernels.gaussian_log_density` from compiled code, on Numba's threads."""
    X, means, factors = _gaussian.as_arrays(X, means, precisions_cholesky, covariance_type)
    factors = _gaussian.factors_of(means, factors, covariance_type)
    return _gaussian_log_density(X, _gaussian.doubles(means), *factors)


@kernel
def _gaussian_log_density(X, means, matrices, scales):
    _check_gaussian((X[:0], means, matrices, scales))  # no rows: it says what doesn't fit
    k, d = means.shape
    log_density = large_empty((len(X), k), X.dtype)
    chunk_rows, n = row_chunks(len(X), k * d * (d + 2 if len(matrices) else 4))
    arguments = (np.zeros(1, np.int64), n, chunk_rows, X, means, matrices, scales, log_density)
    _perform(_gaussian_rows(arguments), n, arguments)
    return log_density


_gaussian.compiled_as(gaussian_log_density, _gaussian_log_density)


def bernoulli_log_density(X, probabilities):
    """As :func:`fastem.kernels.bernoulli_log_density` from compiled code, on Numba's threads."""
    X, probabilities = _bernoulli.as_arrays(X, probabilities)
    if X.dtype not in (np.float32, np.float64):
        _bernoulli.check_rows(X)  # before they are rounded
        X = X.astype(np.float32)
    return _bernoulli_log_density(read_only(np.require(X, None, ["C", "A"])), probabilities)


@kernel
def _bernoulli_log_density(X, probabilities):
    _check_probabilities((X.shape[1], probabilities))
    log_density = large_empty((len(X), len(probabilities)), np.float64)
    chunk_rows, n = row_chunks(len(X), probabilities.size)
    arguments = (np.zeros(1, np.int64), n, chunk_rows, X, probabilities, log_density)
    task = _bernoulli_rows(arguments)
    _on_all_threads(task, n)
    if failed(task, arguments):
        raise ValueError("X must hold zeros and ones only")
    return log_density


compiled_as(bernoulli_log_density, _bernoulli_log_density, converted=False)


def normalize_responsibilities(log_joint):
    """As :func:`fastem.kernels.normalize_responsibilities`, to the last bit, on Numba's threads."""
    return _normalize_rows(_responsibilities.as_rows(log_joint))


@kernel
def _normalize_rows(log_joint):
    _check_components((log_joint,))
    log_density = large_empty(len(log_joint), log_joint.dtype)
    responsibilities = large_empty(log_joint.shape, log_joint.dtype)
    chunk_rows, n = row_chunks(len(log_joint), _EXPONENTIAL * log_joint.shape[1])
    arguments = (
        np.zeros(1, np.int64), n, chunk_rows, log_joint, log_density, responsibilities
    )  # fmt: skip
    _perform(_normalize(arguments), n, arguments)
    return log_density, responsibilities


_responsibilities.compiled_as(normalize_responsibilities, _normalize_rows)
