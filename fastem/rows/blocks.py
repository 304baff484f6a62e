"""Rows in blocks, and randomness for them that doesn't depend on how rows are split into parts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.kernels.runtime.chunks import ceil_div
from fastem.rows.part import Part

# Rows that share one seed of their random numbers, wherever the rows live.
BLOCK_ROWS = 1 << 14

_PIECE_VALUES = 1 << 16


def block_seeds(n_rows, random_state):
    return random_state.randint(2**31, size=ceil_div(n_rows, BLOCK_ROWS))


def random_labels(part: Part, n_clusters: int, seeds: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """A part's rows in blocks, and a random cluster for each row."""
    for block, generator, drawn in generators(part, seeds):
        yield block, generator.randint(n_clusters, size=BLOCK_ROWS)[drawn]


def generators(part: Part, seeds) -> Iterator[tuple[slice, np.random.RandomState, slice]]:
    """A part's rows in blocks that don't depend on how the rows are split into parts.

    Yields the block's rows in the part, the block's random generator, and which of its
    ``BLOCK_ROWS`` numbers belong to these rows.
    """
    first = part.offset
    end = part.offset + part.n_rows
    while first < end:
        number, skipped = divmod(first, BLOCK_ROWS)
        last = min((number + 1) * BLOCK_ROWS, end)
        block = slice(first - part.offset, last - part.offset)
        generator = np.random.RandomState(seeds[number])
        yield block, generator, slice(skipped, skipped + last - first)
        first = last


def dense(part, block):
    x = part.X[block]
    return x if isinstance(x, np.ndarray) else x.toarray()


def dense_pieces(part: Part, block: slice) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows of a block of a part, dense, few at a time: CSR rows may have many columns.

    Yields which of the part's rows they are, too.
    """
    step = max(1, _PIECE_VALUES // part.X.shape[1])
    stop = min(block.stop, part.n_rows)
    for start in range(block.start, stop, step):
        piece = slice(start, min(start + step, stop))
        yield piece, dense(part, piece)


def weights_of(part, block):
    if part.sample_weight is not None:
        return part.sample_weight[block]
    if isinstance(block, slice):
        return np.ones(min(block.stop, part.n_rows) - block.start)
    return np.ones(len(block))
