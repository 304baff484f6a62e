"""A CSR row's scores of the centres in a table, and which rows are looked at next."""

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES, LINE_BYTES
from fastem.kernels.vectors.stored import row_products
from fastem.kernels.vectors.vector import fetch

# Values of 4 bytes in a cache line.
_LINE = LINE_BYTES // 4


@inline
def fetch_row(rows, row):
    """Ask for the cache lines of a row that is looked at soon, where others are left out.

    The hardware only knows of rows that follow one another.
    """
    for at in range(rows.indptr[row], rows.indptr[row + 1], _LINE):
        fetch(rows.indices, at)
        fetch(rows.data, at)


@inline
def write_scores(rows, row, factor, table, scores):
    """Write one row's scores of all columns.

    Parameters
    ----------
    rows : SparseRows
    row : int
    factor : float
        As ``fill_table`` returns it.
    table : CenterTable
    scores : float32 array of shape (n_columns,)
    """
    column = at = 0
    for piece in range(len(table.widths)):
        width = table.widths[piece]
        row_products(
            rows.data,
            rows.indices,
            None,
            rows.indptr[row],
            rows.indptr[row + 1],
            -factor,
            table.values,
            at,
            width,
            table.halves,
            scores,
            column,
        )
        column += width * LANES
        at += width * LANES * table.n_features
