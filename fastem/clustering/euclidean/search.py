"""What squared distances gain by more clusters, and lose by fewer."""

from functools import partial

import numpy as np

from fastem.clustering.search import PACES, ClusterMoves, bisect, search

# How much farther than to the means centres go, so that iterations settle sooner: searches ended
# 0.05 % lower for it, and with two vain breaths in place of three still 0.01 %, in 18 % less time.
_AHEAD = 0.5


def _survey(rows, origin, settled):
    sums, weights = settled.statistics.sums, settled.statistics.weights
    means = np.zeros(sums.shape)
    np.divide(sums, weights[:, np.newaxis], out=means, where=weights[:, np.newaxis] > 0)
    halves = bisect(rows, means, weights)
    squares = ((halves.means[:, 0] - halves.means[:, 1]) ** 2).sum(axis=1)
    product = halves.weights.prod(axis=1)
    gains = np.divide(product * squares, weights, out=np.zeros(len(weights)), where=weights > 0)
    return origin + halves.means, gains


def _settled_losses(losses, moved, weights):
    # Exact if the rows were all in one place: their new centre comes as much nearer to them.
    total = weights + moved
    return losses * np.divide(weights, total, out=np.zeros(moved.shape), where=total > 0)


def _ahead(model, settled):
    """Beyond the means: for less than twice as far, the inertia falls all the same."""
    before, after = settled.assigned, settled.parameters
    ahead = after - before
    ahead *= _AHEAD
    ahead += after
    empty = settled.statistics.weights <= 0
    if empty.any():
        ahead[empty] = after[empty]  # these have been put elsewhere
    return model.rounded(ahead)


_MOVES = ClusterMoves(_survey, _settled_losses, _ahead)
_PACES = {**PACES, "breathing": PACES["breathing"]._replace(patience=2)}
make_search = partial(search, _MOVES, _PACES)
