"""k-means||, for both metrics: candidates for seeds in few passes over the rows.

Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++", VLDB 2012. With squared
Euclidean distances it is theirs, with others the same but for the distance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.seeding import forget
from fastem.kernels.clusters import Frame
from fastem.rows import Slot
from fastem.rows.blocks import BLOCK_ROWS, block_seeds, dense_pieces, generators, weights_of
from fastem.rows.choice import choose_rows

# Candidates of a round as a multiple of the clusters; rounds, and those of rows that are slow to
# read.
_OVERSAMPLING = 2
ROUNDS, FEW_ROUNDS = 5, 2


class _Nearest(NamedTuple):
    """Each row's nearest candidate, and its distance from it."""

    distances: np.ndarray
    candidates: np.ndarray


# What a part keeps between the rounds.
NEAREST: Slot[_Nearest] = Slot("nearest candidates")


class Candidates(NamedTuple):
    """Rows that seeds are chosen from.

    Parameters
    ----------
    X : ndarray of shape (n_candidates, n_features), float64
    weights : ndarray of shape (n_candidates,)
        Of the rows that are nearest to each.
    indices : ndarray of shape (n_candidates,), int
        Among all rows.
    """

    X: np.ndarray
    weights: np.ndarray
    indices: np.ndarray


def draw_candidates(
    rows: Any,
    n_clusters: int,
    frame: Frame,
    random_state: np.random.RandomState,
    n_rounds: int,
    choose: Callable,
    measure: Callable,
) -> Candidates:
    """Draw about two rows a cluster in each round, by their distances from those drawn before.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    n_clusters : int
    frame : Frame
    random_state : RandomState
    n_rounds : int
        Each takes a pass over the rows, as does the first candidate.
    choose : callable
        ``choose(n_rows, n_features, n_clusters, dtype, sparse)`` is the class of an algorithm in
        :mod:`fastem.kernels` that labels rows by the nearest candidate.
    measure : callable
        The distances of which differences of rows are a sign, module-level.

    Returns
    -------
    Candidates
        Those nearest to some row of positive weight.
    """
    chosen = choose_rows(rows, random_state, 1)
    found, indices = [rows.take(chosen).astype(np.float64)], [chosen]
    n_found = 1
    metric = frame, choose, measure
    potential = rows.reduce(_approach, found[0], 0, *metric)
    for _ in range(n_rounds):
        if potential <= 0:
            break
        seeds = block_seeds(rows.n_rows, random_state)
        factor = _OVERSAMPLING * n_clusters / potential
        chosen = np.concatenate(rows.map(_sample, factor, seeds))
        if len(chosen) == 0:
            continue
        found.append(rows.take(chosen).astype(np.float64))
        indices.append(chosen)
        potential = rows.reduce(_approach, found[-1], n_found, *metric)
        n_found += len(chosen)
    weights = rows.reduce(_count, n_found)
    rows.map(forget, NEAREST)
    kept = weights > 0
    return Candidates(np.concatenate(found)[kept], weights[kept], np.concatenate(indices)[kept])


def _approach(part, new, n_before, frame, choose, measure):
    """Compare every row with new candidates; returns the sum of the weighted distances."""
    if n_before == 0:
        part.keep(NEAREST, _Nearest(np.full(part.n_rows, np.inf), np.zeros(part.n_rows, np.int32)))
    kept = part.kept(NEAREST)
    sparse = not isinstance(part.X, np.ndarray)
    algorithm = choose(*part.X.shape, len(new), part.X.dtype, sparse)
    algorithm = algorithm(part.X, None, len(new), frame)
    algorithm.label_rows(new)
    potential = 0.0
    for start in range(0, part.n_rows, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        for piece, values in dense_pieces(part, block):
            nearest = algorithm.labels[piece]
            closest, candidates = kept.distances[piece], kept.candidates[piece]
            distances = measure(values - new[nearest])
            nearer = distances < closest
            closest[nearer] = distances[nearer]
            candidates[nearer] = n_before + nearest[nearer]
        # Not a dot product: OpenBLAS' threads would start and stop for each block.
        potential += float((kept.distances[block] * weights_of(part, block)).sum())
    return potential


def _sample(part, factor, seeds):
    chosen = []
    for block, generator, drawn in generators(part, seeds):
        values = generator.random_sample(BLOCK_ROWS)[drawn]
        probabilities = factor * part.kept(NEAREST).distances[block] * weights_of(part, block)
        chosen.append(part.offset + block.start + np.flatnonzero(values < probabilities))
    return np.concatenate(chosen)


def _count(part, n_candidates):
    weights = np.zeros(n_candidates)
    for start in range(0, part.n_rows, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        labels = part.kept(NEAREST).candidates[block]
        weights += np.bincount(labels, weights_of(part, block), n_candidates)
    return weights
