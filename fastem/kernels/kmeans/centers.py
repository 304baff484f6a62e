"""An M-step's sums over clusters and features, each in one call.

For few clusters, a handful of NumPy calls takes longer than a pass over a few hundred rows.
"""

from fastem.kernels.runtime.compiling import kernel


@kernel
def average(sums, weights, means):
    """Fill in the means of the clusters of positive weight; return how many there are.

    Parameters
    ----------
    sums, means : float64 arrays of shape (n_clusters, n_features)
    weights : float64 array of shape (n_clusters,)
    """
    n_filled = 0
    for j in range(len(weights)):
        if weights[j] > 0:
            n_filled += 1
            inverse = 1.0 / weights[j]
            for f in range(sums.shape[1]):
                means[j, f] = sums[j, f] * inverse
    return n_filled


@kernel
def inertia_change(sums, weights, centers, origin):
    """What the inertia about the origin changes by if it is taken about the clusters' centres.

    Parameters
    ----------
    sums : float64 array of shape (n_clusters, n_features)
        Of differences from the origin.
    weights : float64 array of shape (n_clusters,)
    centers : float64 array of shape (n_clusters, n_features)
    origin : float64 array of shape (n_features,)
    """
    total = 0.0
    for j in range(len(weights)):
        for f in range(centers.shape[1]):
            c = centers[j, f] - origin[f]
            total += c * (weights[j] * c - 2.0 * sums[j, f])
    return total


@kernel
def squared_shift(before, after):
    """Sum of the squared distances that the centres moved.

    Parameters
    ----------
    before, after : float64 arrays of shape (n_clusters, n_features)
    """
    total = 0.0
    for j in range(before.shape[0]):
        for f in range(before.shape[1]):
            shift = after[j, f] - before[j, f]
            total += shift * shift
    return total
