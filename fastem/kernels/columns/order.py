"""Whether a CSR matrix's columns are in order, in one pass by all threads."""

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

# An index takes about as long as so many multiplications.
_WORK = 4


@kernel
def _find_disorder(tickets, n_chunks, chunk_rows, indices, indptr, n_features, disorder):
    """Note of each chunk's rows whether their indices ascend from 0 on, and where they may lie."""
    n_rows, n_stored = len(indptr) - 1, len(indices)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        found = False
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            start, stop = indptr[row], indptr[row + 1]
            if not 0 <= start <= stop <= n_stored:
                found = True
            elif start < stop:
                found |= (indices[start] < 0) | (indices[stop - 1] >= n_features)
                # Unsigned numbers can't count from an array's end, which takes instructions.
                for i in range(np.uint64(start + 1), np.uint64(stop)):
                    found |= indices[i] <= indices[i - np.uint64(1)]
        disorder[chunk] = found


def is_in_order(indices: np.ndarray, indptr: np.ndarray, n_features: int) -> bool:
    """Whether a CSR matrix may be used as it is: its entries are sorted, none twice.

    Parameters
    ----------
    indices : ndarray of shape (n_stored,), int32
    indptr : ndarray of shape (n_rows + 1,), int32 or int64
        Anything else than ascending numbers from 0 to ``n_stored`` is no order, too.
    n_features : int

    Returns
    -------
    bool
    """
    n_rows, n_stored = len(indptr) - 1, len(indices)
    if n_rows < 1 or indptr[0] != 0 or indptr[-1] != n_stored:
        return False
    chunk_rows, n_chunks = row_chunks(n_rows, _WORK * n_stored // n_rows)
    disorder = np.empty(n_chunks, np.bool_)
    run(
        _find_disorder,
        n_chunks,
        chunk_rows,
        read_only(indices),
        read_only(indptr.astype(np.int64, copy=False)),
        n_features,
        disorder,
    )
    return not disorder.any()
