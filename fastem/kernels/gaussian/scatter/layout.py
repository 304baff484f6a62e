"""Where a component's sums lie among its totals.

The lower triangle of the sums of products is taken in blocks of BLOCK by BLOCK features, row after
row of blocks. Those on the diagonal have room for the sums of weights and of single features
beside.
"""

import functools

import numpy as np

from fastem.kernels.gaussian.whitening import BLOCK
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.vectors.emit import Emitter
from fastem.kernels.vectors.machine import TILE

SUMS = BLOCK * BLOCK  # of a block
# Where a diagonal block keeps what.
PRODUCTS = [(i, j) for i in range(BLOCK) for j in range(i + 1)]
SINGLE = len(PRODUCTS)  # the sums of its features
COUNT = SINGLE + BLOCK  # the sum of weights


def totals_size(n_features):
    """Number of a component's sums."""
    n_blocks = ceil_div(n_features, BLOCK)
    return SUMS * n_blocks * (n_blocks + 1) // 2


def unpack_totals(totals, n_features):
    """Sums of weights, of features and of their products.

    Parameters
    ----------
    totals : ndarray of shape (n_components, totals_size(n_features))
    n_features : int

    Returns
    -------
    counts : ndarray of shape (n_components,)
    sums : ndarray of shape (n_components, n_features)
    products : ndarray of shape (n_components, n_features, n_features), symmetric
    """
    count, singles, products = places(n_features)
    return (
        totals[:, count].copy(),
        np.take(totals, singles, axis=1),
        np.take(totals, products, axis=1),
    )


@functools.lru_cache(maxsize=1)  # found anew, they took as long as a pass over some hundred rows
def places(n_features):
    """Where a component's totals have the sums of weights, of features and of their products."""
    row, column = np.meshgrid(np.arange(n_features), np.arange(n_features), indexing="ij")
    row, column = np.maximum(row, column), np.minimum(row, column)
    i, j = row % BLOCK, column % BLOCK
    on_diagonal = row // BLOCK == column // BLOCK
    in_block = np.where(on_diagonal, i * (i + 1) // 2 + j, i * BLOCK + j)
    products = _block_start(row // BLOCK, column // BLOCK) + in_block
    features = np.arange(n_features)
    blocks = features // BLOCK
    return COUNT, _block_start(blocks, blocks) + SINGLE + features % BLOCK, products


def _block_start(row, column):
    """Where the sums of a block begin, by the numbers of its row and column of blocks."""
    return SUMS * (row * (row + 1) // 2 + column)


def place_of(e: Emitter, row, column):
    """Where the sums of a block begin, by the first features of its row and column: LLVM's."""
    n = e.quotient(row, BLOCK)
    before = e.quotient(e.times(n, e.plus(n, 1)), 2)
    return e.times(e.plus(before, e.quotient(column, BLOCK)), SUMS)


def scratch_size(n_tiles):
    """Number of values that ``add_products`` needs for a batch of tiles."""
    return n_tiles * BLOCK * TILE
