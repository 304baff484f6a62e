"""Clusters' sums follow the rows that move, against NumPy."""

import numpy as np
import pytest

from fastem.kernels.clusters.moves import no_moves
from fastem.kernels.kmeans.sums import split_clusters, update_sums
from fastem.kernels.runtime.parallel import run

CHUNK_ROWS, N_CHUNKS = 64, 5


def list_moves(before, after):
    """The moves that a pass would list; chunks with more than a third of their rows list a part."""
    moves = no_moves(CHUNK_ROWS, N_CHUNKS, 1 / 3)
    for chunk in range(N_CHUNKS):
        rows = np.arange(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, len(after)))
        moved = rows[before[rows] != after[rows]]
        moves.counts[chunk] = len(moved)
        listed = moved[: moves.capacity]
        places = slice(chunk * moves.capacity, chunk * moves.capacity + len(listed))
        moves.rows[places], moves.origins[places] = listed, before[listed]
    return moves


@pytest.mark.parametrize("n_groups", [1, 2])
@pytest.mark.parametrize("n_ranges", [1, 3, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_follow_the_moves(dtype, weighted, n_ranges, n_groups):
    rng = np.random.default_rng(0)
    n_rows, n_features, n_clusters = 300, 24, 10
    # Whole numbers, of which no sum is rounded.
    X = rng.integers(-50, 50, size=(n_rows, n_features)).astype(dtype)
    origin = rng.integers(-9, 9, size=n_features).astype(np.float64)
    w = rng.integers(3, size=n_rows).astype(np.float64) if weighted else np.ones(n_rows)
    shape = n_groups, n_clusters
    sums, weights, counts = np.zeros((*shape, n_features)), np.zeros(shape), np.zeros(shape, int)
    before = np.full(n_rows, -1, np.int32)
    for share in (1, 0.1, 0.5, 0.1, 0):
        labels = np.where(rng.random(n_rows) < share, rng.integers(9, size=n_rows), before)
        labels = np.where((labels == 2) & (share < 0.5), 9, labels).astype(np.int32)  # empties one
        run(
            update_sums, n_groups * n_ranges, n_ranges, X, origin, w if weighted else np.empty(0),
            labels, CHUNK_ROWS, list_moves(before, labels), sums, weights, counts,
        )  # fmt: skip
        for cluster in range(n_clusters):
            own = labels == cluster
            expected = ((X[own] - origin) * w[own, np.newaxis]).sum(axis=0)
            np.testing.assert_array_equal(sums[:, cluster].sum(axis=0), expected)
            assert weights[:, cluster].sum() == w[own].sum()
            assert counts[:, cluster].sum() == np.count_nonzero(w[own])
        before = labels


@pytest.mark.parametrize("weighted", [False, True])
def test_ranges_of_clusters_add_up_the_same(weighted):
    """To the same bits, where they are used."""
    rng = np.random.default_rng(1)
    n_rows, n_features, n_clusters = 300, 256, 70
    n_ranges = split_clusters(1, n_clusters, n_features)
    assert n_ranges > 1
    X, origin = rng.normal(size=(n_rows, n_features)), rng.normal(size=n_features)
    sample_weight = rng.random(n_rows) if weighted else np.empty(0)
    found = []
    for parts in (1, n_ranges):
        sums, weights = np.zeros((1, n_clusters, n_features)), np.zeros((1, n_clusters))
        counts, before = np.zeros((1, n_clusters), np.int64), np.full(n_rows, -1, np.int32)
        draw = np.random.default_rng(2)
        for share in (1, 0.1, 0.2):
            drawn = draw.integers(n_clusters, size=n_rows)
            labels = np.where(draw.random(n_rows) < share, drawn, before).astype(np.int32)
            run(
                update_sums, parts, parts, X, origin, sample_weight, labels, CHUNK_ROWS,
                list_moves(before, labels), sums, weights, counts,
            )  # fmt: skip
            before = labels
        found.append((sums, weights, counts))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_few_or_short_sums_are_not_split():
    assert split_clusters(1, 8, 512) == 1
    assert split_clusters(1, 500, 64) == 1
    assert split_clusters(16, 500, 512) == 1
    assert split_clusters(1, 500, 513) == 1  # some features are behind whole vectors
