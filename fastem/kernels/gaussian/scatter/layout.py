"""Where a component's sums lie among its totals.

The lower triangle of the sums of products is taken in blocks of BLOCK by BLOCK features, row after
row of blocks. Those on the diagonal have room for the sums of weights and of single features
beside.
"""

import numpy as np

from fastem.kernels.gaussian.whitening import BLOCK
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.vectors.emit import Emitter
from fastem.kernels.vectors.machine import TILE

# Up to so many, centring and weighting them again and again is cheaper than keeping the results.
FEW_FEATURES = 12

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
    n_components = len(totals)
    n_blocks = ceil_div(n_features, BLOCK)
    rows, columns = np.tril_indices(n_blocks)
    totals = totals.reshape(n_components, -1, SUMS)
    products = np.zeros((n_components, n_blocks, BLOCK, n_blocks, BLOCK))
    products[:, rows, :, columns, :] = totals.reshape(n_components, -1, BLOCK, BLOCK).swapaxes(0, 1)
    diagonal = totals[:, rows == columns]
    b = np.arange(n_blocks)
    for place, (i, j) in enumerate(PRODUCTS):
        products[:, b, i, b, j] = diagonal[:, :, place]
    sums = diagonal[:, :, SINGLE:COUNT].reshape(n_components, -1)
    size = n_blocks * BLOCK
    products = products.reshape(n_components, size, size)[:, :n_features, :n_features]
    lower = np.tril(products)
    products = lower + np.tril(products, -1).swapaxes(1, 2)
    return diagonal[:, 0, COUNT].copy(), sums[:, :n_features].copy(), products


def place_of(e: Emitter, row, column):
    """Where the sums of a block begin, by the first features of its row and column: LLVM's."""
    n = e.quotient(row, BLOCK)
    before = e.quotient(e.times(n, e.plus(n, 1)), 2)
    return e.times(e.plus(before, e.quotient(column, BLOCK)), SUMS)


def scratch_size(n_features, n_tiles):
    """Number of values that ``add_products`` needs for a batch of tiles."""
    return 0 if n_features <= FEW_FEATURES else n_tiles * (n_features + 1) * TILE
