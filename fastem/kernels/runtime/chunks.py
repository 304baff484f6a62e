"""How rows are split into chunks: by the data's shape alone, never by the number of threads."""

from fastem.kernels.runtime.compiling import inline

# A chunk is worth a thread: waking one costs some 50 microseconds, in which a core does a few
# million multiplications and additions.
_LEAST_WORK = 1 << 21
_FEWEST_ROWS, _MOST_ROWS = 512, 16384

# Likewise for values that are fetched from anywhere and compared with one or two.
_LEAST_VALUES = 1 << 14

# Sums of chunks take up to this share of the rows' memory, unless that leaves fewer chunks.
# Where they would take more, chunks are few, and so many that common numbers of threads get the
# same number of them: of 21, one of two threads had 11, which was 5 % of a pass.
_SUMS_SHARE, _FEWEST_CHUNKS = 1 / 16, 8


@inline
def ceil_div(n, size):
    """How many blocks of a size hold ``n`` things."""
    return -(-n // size)


@inline
def round_up(n, size):
    """The least multiple of ``size`` that is no less than ``n``."""
    return -(-n // size) * size


@inline
def row_chunks(n_rows, work, fewest=_FEWEST_ROWS):
    """Split a pass over rows.

    Parameters
    ----------
    n_rows : int
    work : int
        Multiplications for one row.
    fewest : int
        Rows that a chunk has at least, however much work they are.

    Returns
    -------
    rows : int
        Rows of a chunk, a multiple of 64.
    n_chunks : int
        About 64, unless chunks would be too small or too large.
    """
    fewest = min(max(_LEAST_WORK // max(work, 1), fewest), _MOST_ROWS)
    rows = min(max(n_rows // 64, fewest), _MOST_ROWS) // 64 * 64
    return rows, ceil_div(n_rows, rows)


@inline
def summing_chunks(X, work, n_sums, fewest=_FEWEST_ROWS):
    """As :func:`row_chunks`, for a pass that keeps ``n_sums`` float64 values for every chunk."""
    n_rows = len(X)
    rows, n_chunks = row_chunks(n_rows, work, fewest)
    most = max(_FEWEST_CHUNKS, int(_SUMS_SHARE * X.nbytes / (8 * n_sums)))
    if n_chunks > most:
        most -= most % _FEWEST_CHUNKS
        rows = ceil_div(n_rows, 64 * most) * 64
        n_chunks = ceil_div(n_rows, rows)
    return rows, n_chunks


def worthwhile_threads(n_values):
    """How many threads are worth their while for tasks that look at so many values together."""
    return 1 + n_values // _LEAST_VALUES
