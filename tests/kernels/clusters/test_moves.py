"""Rows that change clusters are listed, as far as there is room, and get their new labels."""

import numpy as np
import pytest

from fastem.kernels.clusters.moves import Moves, move_row, move_tile, no_moves
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import TILE


@kernel
def move_tiles(chunk, chunk_rows, nearest, labels, moves):
    n_moved = 0
    for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels)), TILE):
        n_moved = move_tile(first, nearest[first : first + TILE], labels, moves, chunk, n_moved)
    moves.counts[chunk] = n_moved


@kernel
def move_rows(chunk, chunk_rows, nearest, labels, moves):
    n_moved = 0
    for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, len(labels))):
        if labels[row] != nearest[row]:
            n_moved = move_row(row, nearest[row], labels, moves, chunk, n_moved)
    moves.counts[chunk] = n_moved


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("n_rows", [1, 63, 64, 65, 128, 200, 500])
@pytest.mark.parametrize("body", [move_tiles, move_rows])
@pytest.mark.parametrize("listed_share", [1 / 8, 1 / 3])
def test_moves(listed_share, body, n_rows, share):
    rng = np.random.default_rng(n_rows)
    before = rng.integers(-1, 4, size=n_rows).astype(np.int32)
    nearest = np.where(rng.uniform(size=n_rows) < share, rng.integers(4, size=n_rows), before)
    # A tile's results are as many as its lanes, whatever those behind the last row say.
    padded = np.concatenate([nearest, rng.integers(4, size=TILE)]).astype(np.int32)
    labels, chunk_rows = before.copy(), 192
    moves = no_moves(chunk_rows, 3, listed_share)
    assert isinstance(moves, Moves) and moves.capacity == int(chunk_rows * listed_share)
    for chunk in range(3):
        body(chunk, chunk_rows, padded, labels, moves)
        changed = np.flatnonzero(nearest != before)
        changed = changed[changed // chunk_rows == chunk]
        assert moves.counts[chunk] == len(changed)
        listed = slice(chunk * moves.capacity, chunk * moves.capacity + len(changed))
        room = slice(listed.start, min(listed.stop, (chunk + 1) * moves.capacity))
        np.testing.assert_array_equal(moves.rows[room], changed[: moves.capacity])
        np.testing.assert_array_equal(moves.origins[room], before[changed[: moves.capacity]])
    np.testing.assert_array_equal(labels, nearest)
