"""What L1 distances gain by more clusters, and lose by fewer."""

from functools import partial

import numpy as np

from fastem.clustering.model import ALGORITHM
from fastem.clustering.search import PACES, ClusterMoves, bisect, search, sum_halves


def _survey(rows, origin, settled):
    centers = settled.parameters
    nowhere = np.zeros(centers.shape)
    sums, weights = rows.reduce(sum_halves, nowhere, np.full(len(centers), -1.0), True)
    means = np.zeros(sums.shape)
    np.divide(sums, weights[:, np.newaxis], out=means, where=weights[:, np.newaxis] > 0)
    halves = bisect(rows, means, weights)
    children = origin + halves.means
    gains = rows.reduce(_gains, centers, children, halves.directions, halves.offsets)
    return children, np.where(halves.weights.min(axis=1) > 0, gains, 0.0)


def _gains(part, centers, children, directions, offsets):
    return part.kept(ALGORITHM).gains(centers, children, directions, offsets)


def _settled_losses(losses, moved, weights):
    # Exact if the rows were all in one place: their new centre is that of the greater weight.
    share = np.divide(weights, moved, out=np.ones(moved.shape), where=moved > weights)
    return losses * share


def _ahead(model, settled):
    return settled.parameters


make_search = partial(search, ClusterMoves(_survey, _settled_losses, _ahead), PACES)
