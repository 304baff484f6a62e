"""A pass of greedy k-means++ over rows of few features: a vector holds one of several rows."""

import numpy as np

from fastem.kernels.distances.direct_tiles import load_columns, tile_distance, tile_distances
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.seeding.closest import judge_tile, take_lesser, weigh
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES
from fastem.kernels.vectors.tiles import aligned_empty_like


@kernel
def try_narrow(
    tickets, n_chunks, chunk_tiles, tiles, X, scale, weight, last, seeds, margin, known, trial
):
    """Bring tiles up to date with the last seed and compare them with the candidates.

    The parameters are those of ``wide.try_wide``; here nothing depends on ``margin``.
    """
    closest, labels, last_improved = known
    n_rows, n_features = X.shape
    lanes = VECTOR_BYTES // X.itemsize
    transposed = aligned_empty_like(TILE * n_features, X)
    distances = aligned_empty_like(TILE * (len(trial.points) + 2), X)
    tile_weight = aligned_array(TILE, np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for number in range(chunk * chunk_tiles, min((chunk + 1) * chunk_tiles, len(tiles))):
            tile = tiles[number]
            row = tile * TILE
            load_columns(X, row, lanes, scale, transposed)
            if last_improved[tile] != np.uint64(0):
                tile_distance(transposed, last, distances)
                take_lesser(distances, closest, labels, row, np.int32(len(seeds) - 1))
                last_improved[tile] = np.uint64(0)
            if len(trial.points) == 0:
                continue
            tile_distances(transposed, trial.points, distances)
            weigh(weight, row, n_rows, tile_weight)
            judge_tile(distances, tile, closest, tile_weight, trial)
