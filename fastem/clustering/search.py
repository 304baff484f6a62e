"""How a search adds and removes clusters, from statistics that add up over the parts of the rows.

Clusters that gain most by it are split: along the direction of greatest spread, after some
iterations of 2-means among their own rows. Centres are removed whose rows lose least where they go
to their second nearest; the others there have no more than one of these moves to bear at a time.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.model import ALGORITHM, Clustering
from fastem.kernels.kmeans import halves
from fastem.loop.search import Breathing, Moves, Offers, Pace, Settled

# Clusters that have just been split need two iterations for others to be worth less: with ten,
# searches ended 0.05 % higher, and took as long. With two vain breaths at each of twice as many
# depths they took 5 % longer and ended no lower.
# Two to seven clusters of K-medians ended 0.085 % above the least found with three, 0.060 % with
# six vain breaths, in 1.3 times the time; ten restarts 0.073 %, in 2.3 times.
_PACE = Pace(patience=3, shallower=4, settled_wide=0.1, hopeless=6.0, patience_of_few=6)

#: The searches by name.
PACES = {
    "breathing": _PACE,
    "patient-breathing": _PACE._replace(
        patience=16, least_gain=1e-5, settled=1e-4, most_iterations=40
    ),
}

# Power iterations towards the direction of greatest spread, and iterations of 2-means.
POWER_ITERATIONS, ITERATIONS = 2, 4
# Half of a cluster has at least this share of its weight: less may be rounding.
LEAST_SHARE = 1e-9
# Centres to be removed are looked for among so many times as many, those with the least
# merging costs (with 2, K-medians ended up to 1.3 % higher, K-means up to 0.4 %), ...
_CANDIDATES = 4
# ... whose moves to all others are known together only for so many pairs.
_PAIRS = 1 << 22


class Halves(NamedTuple):
    """Every cluster in two.

    Parameters
    ----------
    means : ndarray of shape (n_clusters, 2, n_features)
        Of the halves, relative to the origin.
    weights : ndarray of shape (n_clusters, 2)
    directions : ndarray of shape (n_clusters, n_features)
    offsets : ndarray of shape (n_clusters,)
        Rows of the first half have ``directions . (x - origin) > offsets``.
    """

    means: np.ndarray
    weights: np.ndarray
    directions: np.ndarray
    offsets: np.ndarray


# The steps that run where the rows are.


def sum_halves(part, directions, offsets, first):
    """Sums over parts of the clusters as labelled: see ``fastem.kernels.kmeans.halves``."""
    return part.kept(ALGORITHM).halves(directions, offsets, first)


def _losses(part, centers, chosen):
    return part.kept(ALGORITHM).losses(centers, chosen)


def bisect(rows: Any, means: np.ndarray, weights: np.ndarray) -> Halves:
    """Halves of all clusters, in passes whose costs don't grow with the number of clusters.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
        With labels.
    means : ndarray of shape (n_clusters, n_features)
        Of the clusters, relative to the origin.
    weights : ndarray of shape (n_clusters,)
        Of the clusters.

    Returns
    -------
    Halves
    """
    directions, offsets = first_directions(means)
    for _ in range(POWER_ITERATIONS):
        found = rows.reduce(sum_halves, directions, offsets, False)
        # New ones: the rows' home may still need those before.
        directions, offsets = np.empty(means.shape), np.empty(len(means))
        halves.aim(*found, means, directions, offsets)
    both, both_weights = np.empty((len(means), 2, means.shape[1])), np.empty((len(means), 2))
    for _ in range(ITERATIONS):
        found = rows.reduce(sum_halves, directions, offsets, True)
        directions, offsets = np.empty(means.shape), np.empty(len(means))
        halves.halve(*found, LEAST_SHARE, means, weights, both, both_weights, directions, offsets)
    return Halves(both, both_weights, directions, offsets)


def first_directions(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions to begin with, and the means' products with them."""
    # No cluster's greatest spread is likely to be at right angles to this.
    directions = np.tile(np.cos(np.arange(1.0, means.shape[1] + 1)), (len(means), 1))
    return directions, _products(directions, means)


def _products(left, right):
    return np.einsum("ij,ij->i", left, right)


class ClusterMoves(Moves):
    """The moves of a search, for either metric.

    Parameters
    ----------
    survey : callable
        ``(rows, origin, settled)`` to the centres in place of each cluster's, in the rows'
        coordinates, of shape (n_clusters, 2, n_features), and to by how much the inertia is less
        then.
    settled_losses : callable
        ``(losses, moved, weights)`` to the losses once the centres that rows go to have followed
        them. ``losses`` and ``moved`` are those of ``fastem.kernels.kmeans.losses.Losses``, and
        ``weights`` those of the clusters that rows go to.
    ahead : callable
        ``(model, settled)`` to the centres that the next iteration begins with.
    gathered, settle : callable, optional
        As in :class:`fastem.loop.search.Moves`.
    """

    def __init__(
        self,
        survey: Callable,
        settled_losses: Callable,
        ahead: Callable,
        gathered: Callable | None = None,
        settle: Callable | None = None,
    ):
        self._survey = survey
        self._settled_losses = settled_losses
        self._ahead = ahead
        self._gathered = gathered
        self._settle = settle

    measure = "inertia"
    failures: tuple[type[Exception], ...] = ()

    def sound(self, model: Clustering, settled: Settled, best: Settled) -> bool:
        return True

    def n_components(self, model: Clustering) -> int:
        return model.n_clusters

    def resized(self, model: Clustering, n_components: int) -> Clustering:
        other = copy.copy(model)
        other.n_clusters = n_components
        return other

    def gain(self, objective: float, before: float) -> float:
        return (before - objective) / before if before > 0 else 0.0

    def survey(self, model: Clustering, rows: Any, settled: Settled) -> Offers:
        children, gains = self._survey(rows, model.frame.origin, settled)
        return Offers(gains, np.arange(len(gains)), children)

    def gathered(self, model, rows):
        if self._gathered is None:
            return super().gathered(model, rows)
        return self._gathered(model, rows)

    def settle(self, model, rows, parameters, until):
        if self._settle is None:
            return super().settle(model, rows, parameters, until)
        return self._settle(model, rows, parameters, until)

    def grow(self, model, settled, offers, chosen):
        centers = np.concatenate([settled.parameters, offers.children[chosen, 1]])
        centers[offers.components[chosen]] = offers.children[chosen, 0]
        return model.rounded(centers)

    def ahead(self, model, settled):
        return self._ahead(model, settled)

    def shrink(self, model, rows, settled, size):
        centers, weights = settled.assigned, settled.statistics.weights
        candidates = np.arange(len(centers))
        if _CANDIDATES * size < len(centers):
            costs = _merging_costs(centers, weights)
            candidates = np.argsort(costs, kind="stable")[: _CANDIDATES * size]
        losses, receivers = self._losses(rows, centers, weights, candidates)
        order = np.argsort(losses, kind="stable")
        kept = np.ones(len(centers), bool)
        kept[_choose(candidates[order], receivers[order], size)] = False
        return settled.parameters[kept]

    def _losses(self, rows, centers, weights, candidates):
        """What each candidate's rows lose without it, and where most of them go."""
        losses, receivers = np.empty(len(candidates)), np.empty(len(candidates), int)
        step = max(1, _PAIRS // len(centers))
        for start in range(0, len(candidates), step):
            block = slice(start, start + step)
            found, moved = rows.reduce(_losses, centers, candidates[block])
            losses[block] = self._settled_losses(found, moved, weights).sum(axis=1)
            receivers[block] = moved.argmax(axis=1)
        return losses, receivers


def _merging_costs(centers, weights):
    """By how much squares grow if a cluster is merged with the one for which it is least."""
    costs = np.empty(len(centers))
    norms = _products(centers, centers)
    # Of weights: an empty cluster's costs nothing.
    with np.errstate(divide="ignore", over="ignore"):
        inverse = 1.0 / weights
    step = max(1, _PAIRS // len(centers))
    for start in range(0, len(centers), step):
        block = slice(start, start + step)
        distances = norms[block, np.newaxis] + norms - 2.0 * (centers[block] @ centers.T)
        distances /= inverse[block, np.newaxis] + inverse
        np.fill_diagonal(distances[:, start:], np.inf)
        costs[block] = distances.min(axis=1)
    return costs


def _choose(candidates, receivers, size):
    """The first candidates, but none that others' rows go to or that lacks where its own would.

    If these are too few, the first of those.
    """
    removed: dict[int, None] = {}
    receiving: set[int] = set()
    for candidate, receiver in zip(candidates.tolist(), receivers.tolist(), strict=True):
        if len(removed) == size:
            break
        if candidate not in receiving and receiver not in removed:
            removed[candidate] = None
            receiving.add(receiver)
    left = [candidate for candidate in candidates.tolist() if candidate not in removed]
    return [*removed, *left[: size - len(removed)]]


def search(moves: ClusterMoves, paces: dict[str, Pace], name: str | None) -> Breathing | None:
    """The search of this name, None for None."""
    return None if name is None else Breathing(moves, paces[name])
