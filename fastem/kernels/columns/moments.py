"""Column means and sums of squares, in float64 and in one pass.

Each block of rows is summed about its own mean while it is in cache, and the blocks are put
together by the pairwise update of Chan, Golub and LeVeque, "Algorithms for computing the sample
variance", The American Statistician 37, 1983.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run

# Narrower rows are taken several at a time, so that the inner loop is long enough for vectors.
_WIDTH = 64
_BLOCK_VALUES = 8192
_CSR_BLOCK = 1 << 18
# Chunks' sums over CSR rows take up to this share of the data, and there are at most so many.
_STORED_SHARE, _MOST_STORED_CHUNKS = 1 / 8, 16
# A column's squares about its mean are computed from those about zero if they are this share of it.
_LEAST_LEFT = 2.0**-8


class Moments(NamedTuple):
    """Of some rows: their number, column means and sums of squared deviations from these."""

    n_rows: float
    mean: np.ndarray
    squares: np.ndarray


def combine(moments: list[Moments]) -> Moments:
    """The moments of all rows from those of their parts."""
    if len(moments) == 1:
        return moments[0]
    counts = np.array([part.n_rows for part in moments], np.float64)
    return _combine(
        counts,
        np.array([part.mean for part in moments]),
        np.array([part.squares for part in moments]),
    )


def _combine(counts, means, squares):
    n_rows = counts.sum()
    # Not dot products: OpenBLAS ends the process where it can't have memory for its threads.
    mean = np.einsum("i,ij->j", counts, means) / n_rows
    between = np.einsum("i,ij->j", counts, (means - mean) ** 2)
    return Moments(n_rows, mean, squares.sum(axis=0) + between)


@kernel
def _block_moments(tickets, n_chunks, chunk_rows, block_rows, X, means, squares):
    """Each chunk's column moments.

    Parameters
    ----------
    block_rows : int
        Rows that are summed about their own mean.
    X : array of shape (n_rows, n_columns)
    means, squares : float64 arrays of shape (n_chunks, n_columns)
        Get the means, and the sums of squared deviations from these.
    """
    n_rows, width = X.shape
    block_mean = aligned_array(width, np.float64)
    block_squares = aligned_array(width, np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start = chunk * chunk_rows
        stop = min(start + chunk_rows, n_rows)
        mean, square = means[chunk], squares[chunk]
        mean[:] = 0.0
        square[:] = 0.0
        done = 0
        for first in range(start, stop, block_rows):
            last = min(first + block_rows, stop)
            count = last - first
            block_mean[:] = 0.0
            for i in range(first, last):
                for j in range(width):
                    block_mean[j] += np.float64(X[i, j])
            for j in range(width):
                block_mean[j] /= count
            block_squares[:] = 0.0
            for i in range(first, last):
                for j in range(width):
                    deviation = np.float64(X[i, j]) - block_mean[j]
                    block_squares[j] += deviation * deviation
            done += count
            for j in range(width):
                deviation = block_mean[j] - mean[j]
                mean[j] += deviation * (count / done)
                square[j] += block_squares[j]
                square[j] += deviation * deviation * (count * (done - count) / done)


def dense_moments(X: np.ndarray) -> Moments:
    """Column moments of dense rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous

    Returns
    -------
    Moments
    """
    n_rows, n_features = X.shape
    if X.size <= _BLOCK_VALUES:
        mean = X.mean(axis=0, dtype=np.float64)
        return Moments(float(n_rows), mean, ((X - mean) ** 2).sum(axis=0))
    group = min(max(1, _WIDTH // n_features), n_rows)
    wide = X[: n_rows - n_rows % group].reshape(-1, group * n_features)
    n_wide, width = wide.shape
    chunk_rows, n_chunks = row_chunks(n_wide, 4 * width)
    means = np.empty((n_chunks, width))
    squares = np.empty((n_chunks, width))
    run(
        _block_moments,
        n_chunks,
        chunk_rows,
        max(1, _BLOCK_VALUES // width),
        read_only(wide),
        means,
        squares,
    )
    counts = np.full(n_chunks, float(chunk_rows))
    counts[-1] = n_wide - (n_chunks - 1) * chunk_rows
    shape = (n_chunks * group, n_features)
    counts, means, squares = counts.repeat(group), means.reshape(shape), squares.reshape(shape)
    if n_rows % group:
        rest = X[n_rows - n_rows % group :].astype(np.float64)
        counts = np.append(counts, len(rest))
        means = np.vstack([means, rest.mean(axis=0)])
        squares = np.vstack([squares, ((rest - rest.mean(axis=0)) ** 2).sum(axis=0)])
    return _combine(counts, means, squares)


@kernel
def _weighted_squares(tickets, n_chunks, chunk_rows, X, sample_weight, origin, partial):
    """Each chunk's sum for :func:`weighted_squares`, to ``partial`` of shape (n_chunks,)."""
    n_rows, n_features = X.shape
    total = np.empty(n_features)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start = chunk * chunk_rows
        stop = min(start + chunk_rows, n_rows)
        total[:] = 0.0
        for i in range(start, stop):
            weight = sample_weight[i]
            for j in range(n_features):
                deviation = np.float64(X[i, j]) - origin[j]
                total[j] += weight * deviation * deviation
        partial[chunk] = total.sum()


def weighted_squares(X: np.ndarray, sample_weight: np.ndarray, origin: np.ndarray) -> float:
    """Sum of ``w * |x - origin|**2`` over dense rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : ndarray of shape (n_rows,), float64
    origin : ndarray of shape (n_features,), float64

    Returns
    -------
    float
    """
    chunk_rows, n_chunks = row_chunks(len(X), X.shape[1])
    partial = np.empty(n_chunks)
    run(
        _weighted_squares,
        n_chunks,
        chunk_rows,
        read_only(X),
        read_only(sample_weight),
        origin,
        partial,
    )
    return float(partial.sum())


@kernel
def _stored_sums(tickets, n_chunks, data, indices, mean, sums):
    """Each chunk's sums of the values of each column, and of their squares.

    With ``mean`` given, of the squared deviations from it, and how many there are.
    """
    n_stored, n_columns = len(data), sums.shape[1]
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for f in range(n_columns):
            sums[chunk, f, 0] = sums[chunk, f, 1] = 0.0
        for i in range(
            np.uint64(chunk * n_stored // n_chunks), np.uint64((chunk + 1) * n_stored // n_chunks)
        ):
            value, f = np.float64(data[i]), np.uint64(indices[i])
            if len(mean):
                sums[chunk, f, 0] += (value - mean[f]) * (value - mean[f])
                sums[chunk, f, 1] += 1.0
            else:
                sums[chunk, f, 0] += value
                sums[chunk, f, 1] += value * value


def sparse_moments(X: Any) -> Moments:
    """Column moments of a CSR matrix; values that are not stored count as zeros."""
    n_rows, n_features = X.shape
    data, indices = read_only(X.data), read_only(X.indices.astype(np.int32, copy=False))
    most = int(_STORED_SHARE * (data.nbytes + indices.nbytes) / (16 * n_features))
    partial = np.empty((max(1, min(_MOST_STORED_CHUNKS, most)), n_features, 2))
    run(_stored_sums, len(partial), data, indices, read_only(np.empty(0)), partial)
    mean, squares = partial.sum(axis=0).T
    mean = mean / n_rows
    deviations = squares - n_rows * mean**2
    # Seldom, as most values of most columns are zeros, that cancels most digits.
    if not (deviations >= _LEAST_LEFT * squares).all():
        run(_stored_sums, len(partial), data, indices, read_only(mean), partial)
        deviations, counts = partial.sum(axis=0).T
        deviations = deviations + (n_rows - counts) * mean**2
    return Moments(float(n_rows), mean, deviations)


def sparse_squares(X: Any, sample_weight: np.ndarray) -> float:
    """Sum of ``w * |x|**2`` over the rows of a CSR matrix."""
    total = 0.0
    for start, values, _ in _csr_blocks(X):
        stored = np.arange(start, start + len(values))
        rows = np.searchsorted(X.indptr, stored, side="right") - 1
        total += float((values**2 * sample_weight[rows]).sum())
    return total


def _csr_blocks(X):
    for start in range(0, len(X.data), _CSR_BLOCK):
        block = slice(start, start + _CSR_BLOCK)
        yield start, X.data[block].astype(np.float64), X.indices[block]
