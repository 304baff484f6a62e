"""Lists of rows to be compared, of which those that come next are fetched in time."""

from fastem.kernels.runtime.compiling import inline

# Rows are fetched at most so many places of a list before they are compared.
MOST_AHEAD = 64
# Numbers of rows behind a list's end: besides, up to four rows are taken together.
LIST_SLACK = MOST_AHEAD + 4


@inline
def end_list(rows, n_listed, n_rows):
    """Put behind a list the rows that may well come next.

    Parameters
    ----------
    rows : int32 array of at least n_listed + LIST_SLACK values
    n_listed, n_rows : int
        The list's length, and the number of all rows.
    """
    if n_listed > 0:
        for j in range(n_listed, n_listed + LIST_SLACK):
            rows[j] = min(rows[j - 1] + 1, n_rows - 1)
