"""Which rows have the same entries, so that what these entries have in common is found once."""

from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.gaussian.full import places, totals_size
from fastem.kernels.runtime.chunks import ceil_div

# Values looked at together.
_BLOCK_VALUES = 1 << 18


class Groups(NamedTuple):
    """Rows sorted by what was observed of them, in chunks for threads.

    Parameters
    ----------
    order : ndarray of int32
        The rows' numbers.
    columns : ndarray of shape (n_patterns, n_features), int32
        Of each pattern the columns observed, then the others, both in ascending order.
    n_observed : ndarray of shape (n_patterns,), int32
    pieces : ndarray of shape (n_pieces, 3), int64
        Rows of one pattern in one chunk: the pattern, and the first row and the one behind the last
        in the order.
    starts : ndarray of shape (n_chunks + 1,), int64
        Each chunk's first piece.
    """

    order: np.ndarray
    columns: np.ndarray
    n_observed: np.ndarray
    pieces: np.ndarray
    starts: np.ndarray


def find_patterns(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different patterns of what was observed.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        NaN where nothing was observed.

    Returns
    -------
    order : ndarray of shape (n_rows,), int32
        The rows sorted by pattern, those of one pattern in their own order.
    counts : ndarray of shape (n_patterns,), int64
        The patterns' numbers of rows.
    seen : ndarray of shape (n_patterns, n_features), bool
    """
    n_rows, n_features = X.shape
    bits = np.empty((n_rows, ceil_div(n_features, 8)), np.uint8)
    step = max(1, _BLOCK_VALUES // n_features)
    for start in range(0, n_rows, step):
        bits[start : start + step] = np.packbits(~np.isnan(X[start : start + step]), axis=1)
    n_bytes = bits.shape[1]
    if n_bytes <= 8:  # numbers are sorted sooner than bytes, small ones soonest
        words = np.zeros((n_rows, 1 << (n_bytes - 1).bit_length()), np.uint8)
        words[:, :n_bytes] = bits
        keys: Any = words.view(f"u{words.shape[1]}")[:, 0]
    else:
        keys = bits.view(np.dtype((np.void, n_bytes)))[:, 0]
    # Of what ``np.unique`` does, what is needed: it takes twice the memory.
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = np.ones(n_rows, bool)
    new[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(new)
    counts, first = np.diff(np.append(starts, n_rows)), order[starts]
    order = order.astype(np.int32)
    seen = np.unpackbits(bits[first], axis=1, count=n_features).astype(bool)
    return order, counts, seen


def group(order: np.ndarray, counts: np.ndarray, seen: np.ndarray, chunk_rows: int) -> Groups:
    """Rows sorted by pattern, cut into chunks of so many."""
    ends = np.cumsum(counts)
    n_rows = len(order)
    cuts = np.unique(np.concatenate([[0], ends, np.arange(0, n_rows, chunk_rows)]))
    first, last = cuts[:-1], cuts[1:]
    pieces = np.stack([np.searchsorted(ends, first, side="right"), first, last], axis=1)
    starts = np.searchsorted(first, np.arange(0, n_rows, chunk_rows))
    return Groups(
        order,
        np.argsort(~seen, axis=1, kind="stable").astype(np.int32),
        seen.sum(axis=1).astype(np.int32),
        pieces.astype(np.int64),
        np.append(starts, len(pieces)).astype(np.int64),
    )


class Layout(NamedTuple):
    """How ``add_products`` lays a component's totals out.

    Parameters
    ----------
    sizes : ndarray of shape (n_features + 1,), int64
        How many values they take, for each number of features.
    count_at : int
        Where the count is, and so on.
    sums_at : ndarray of shape (n_features,), int64
    products_at : ndarray of shape (n_features, n_features), int64
    """

    sizes: np.ndarray
    count_at: int
    sums_at: np.ndarray
    products_at: np.ndarray


def layout_of_totals(n_features: int) -> Layout:
    """The layout, which for fewer features begins alike."""
    sizes = np.array([totals_size(n) for n in range(n_features + 1)])
    return Layout(sizes, *places(n_features))
