"""A CSR row's scores of the centres in a table."""

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES
from fastem.kernels.vectors.stored import row_products


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
    n_features = len(table.values) // len(table.halves)
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
        at += width * LANES * n_features
