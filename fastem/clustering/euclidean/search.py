"""What squared distances gain by more clusters, and lose by fewer."""

from functools import partial

import numpy as np

from fastem.clustering.search import ClusterMoves, bisect, search


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


make_search = partial(search, ClusterMoves(_survey, _settled_losses))
