"""mlpack's K-means and Gaussian mixtures, which compute in float64."""

import numpy as np


def fit_kmeans(X, init, max_iter):
    """Return the centres: from the same start, by Hamerly's bounds.

    mlpack stops when the centres move by less than 1e-5 altogether, which is far stricter than
    scikit-learn's criterion, so it gets the number of iterations that others needed as its maximum.
    """
    from mlpack import kmeans

    result = kmeans(
        input_=X,
        clusters=len(init),
        initial_centroids=init.copy(),  # it writes the result there
        max_iterations=max_iter,
        algorithm="hamerly",
        allow_empty_clusters=True,
        labels_only=True,
    )
    return result["centroid"]


def fit_gaussian(X, cell, max_iter, start):
    """Fit a mixture by ``max_iter - 1`` iterations, mlpack's way of counting.

    It takes no parameters to start from, only a model that it has fitted itself; it begins with an
    iteration of K-means, so that its iterations are compared, not its result.
    """
    from mlpack import gmm_train

    return gmm_train(
        input_=X,
        gaussians=cell.components,
        diagonal_covariance=cell.covariance_type == "diag",
        max_iterations=max_iter,
        kmeans_max_iterations=1,
        tolerance=np.finfo(float).tiny,
        seed=1,
    )["output_model"]
