"""Naive NumPy twins of what fastem does fast: short enough to be checked by reading."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, poisson


def squared_distances(X, centers):
    """By direct differences, in float64."""
    differences = np.asarray(X, float)[:, np.newaxis] - np.asarray(centers, float)
    return (differences**2).sum(axis=2)


def lloyd(X, init, sample_weight=None, tol=0.0, max_iter=300):
    """Plain Lloyd iterations as scikit-learn's KMeans does them, but for clusters left empty.

    ``tol`` is relative to the mean of the columns' variances. Returns labels, centres, inertia and
    the number of iterations.
    """
    X = np.asarray(X, float)
    mean = X.mean(axis=0)
    tol = tol * X.var(axis=0).mean()
    X, centers = X - mean, np.asarray(init, float) - mean
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    labels = np.full(len(X), -1)
    strict = False
    for n_iter in range(1, max_iter + 1):  # noqa: B007
        old_labels, old_centers = labels, centers
        labels = squared_distances(X, centers).argmin(axis=1)
        centers = lloyd_centers(X, weights, labels, centers)
        strict = np.array_equal(labels, old_labels)
        if strict or ((centers - old_centers) ** 2).sum() <= tol:
            break
    if not strict:
        labels = squared_distances(X, centers).argmin(axis=1)
    inertia = weights @ ((X - centers[labels]) ** 2).sum(axis=1)
    return labels, centers + mean, inertia, n_iter


def lloyd_centers(X, weights, labels, centers):
    """The clusters' means after the rows farthest from their centres moved to empty clusters.

    Rows that lie on their centres stay.
    """
    n_clusters = len(centers)
    sums = np.array(
        [(X * weights[:, np.newaxis])[labels == j].sum(axis=0) for j in range(n_clusters)]
    )
    totals = np.array([weights[labels == j].sum() for j in range(n_clusters)])
    empty = np.flatnonzero(totals == 0)
    distances = ((X - centers[labels]) ** 2).sum(axis=1)
    if len(empty) and distances.max() > 0:
        farthest = np.argpartition(distances, -len(empty))[: -len(empty) - 1 : -1]
        on_own = distances[farthest] == 0
        for j, row in zip(empty, farthest[~on_own], strict=False):
            sums[labels[row]] -= X[row] * weights[row]
            sums[j] = X[row] * weights[row]
            totals[j] = weights[row]
            totals[labels[row]] -= weights[row]
    # Those still empty get the heaviest cluster's mean.
    heaviest = np.argmax(totals)
    filled = [j if totals[j] > 0 else heaviest for j in range(n_clusters)]
    return sums[filled] / totals[filled][:, np.newaxis]


def greedy_seeds(X, sample_weight, first, n_seeds, n_candidates, random_state):
    """The rows that greedy k-means++ draws after a first one, the best of several for each."""
    closest = squared_distances(X, X[first : first + 1])[:, 0]
    seeds = []
    for _ in range(n_seeds):
        ends = np.cumsum(sample_weight * closest)
        rows = np.searchsorted(ends, random_state.uniform(size=n_candidates) * ends[-1])
        distances = np.minimum(closest[:, np.newaxis], squared_distances(X, X[rows]))
        best = (sample_weight @ distances).argmin()
        seeds.append(rows[best])
        closest = distances[:, best]
    return seeds


def cluster_statistics(X, sample_weight, labels, n_clusters):
    """Every cluster's sum of ``w * x`` and of ``w``."""
    own = (labels[:, np.newaxis] == np.arange(n_clusters)) * sample_weight[:, np.newaxis]
    return own.T @ X, own.sum(axis=0)


def settled(X, centers, sample_weight, ahead, tol, most, best, hopeless, dtype):
    """Where iterations of K-means settle whose centres go ahead of the means.

    Returns how many there were, the last one's centres and labels, the means of its clusters,
    and the inertia.
    """
    before = None
    for n_iter in range(1, most + 1):
        distances = squared_distances(X, centers)
        labels = distances.argmin(axis=1)
        inertia = (sample_weight * distances.min(axis=1)).sum()
        sums, weights = cluster_statistics(X, sample_weight, labels, len(centers))
        means = (sums / weights[:, np.newaxis]).astype(dtype).astype(float)
        if before is not None:
            gain = (before - inertia) / before
            if gain < tol or (inertia - best) / inertia > hopeless * gain:
                break
        if n_iter < most:
            before = inertia
            centers = (means + ahead * (means - centers)).astype(dtype).astype(float)
    return n_iter, centers, labels, means, inertia


def cluster_halves(X, sample_weight, labels, directions, offsets, halves):
    """Sums over each cluster's rows, weighted by their shares: how far from a hyperplane they are.

    With ``halves``, a share is 1 where it is positive and 0 elsewhere.
    """
    shares = (X * directions[labels]).sum(axis=1) - offsets[labels]
    weights = (shares > 0) * 1.0 if halves else shares
    if sample_weight is not None:
        weights = weights * sample_weight
    of_cluster = (labels[:, np.newaxis] == np.arange(len(directions))) * weights[:, np.newaxis]
    return of_cluster.T @ X, of_cluster.sum(axis=0)


def aimed(sums, shares, means):
    """A power iteration's directions from a mean, and the means' products with them.

    ``sums`` and ``shares`` are those of :func:`cluster_halves` by how far rows are from the mean.
    """
    directions = sums - shares[:, np.newaxis] * means
    greatest = np.abs(directions).max(axis=1, keepdims=True)
    directions /= np.where(greatest > 0, greatest, 1)
    return directions, (directions * means).sum(axis=1)


def halved(sums, half_weights, least_share, means, weights):
    """Means and weights of halves, the directions from one to another, and what is half way.

    ``sums`` and ``half_weights`` are the first halves'.
    """
    both = np.stack([half_weights, weights - half_weights], axis=1)
    totals = np.stack([sums, means * weights[:, np.newaxis] - sums], axis=1)
    whole = both.min(axis=1) <= least_share * weights
    both[whole] = np.stack([weights[whole], np.zeros(whole.sum())], axis=1)
    parts = np.stack([means, means], axis=1)
    parts[~whole] = totals[~whole] / both[~whole, :, np.newaxis]
    directions = parts[:, 0] - parts[:, 1]
    return parts, both, directions, (directions * parts.mean(axis=1)).sum(axis=1)


def cluster_losses(distances, sample_weight, labels, chosen):
    """What rows of the chosen clusters lose in their second nearest, and the weights that go there.

    ``distances`` are those of all rows to all centres.
    """
    weights = np.ones(len(labels)) if sample_weight is None else sample_weight
    losses, moved = np.zeros((2, len(chosen), distances.shape[1]))
    for i, cluster in enumerate(chosen):
        for row in np.flatnonzero(labels == cluster):
            others = distances[row].copy()
            others[cluster] = np.inf
            to = others.argmin()
            losses[i, to] += weights[row] * max(others[to] - distances[row, cluster], 0.0)
            moved[i, to] += weights[row]
    return losses, moved


def l1_distances(X, centers):
    """In float64, one feature's differences added after the other."""
    X, centers = np.asarray(X, float), np.asarray(centers, float)
    distances = np.zeros((len(X), len(centers)))
    for f in range(X.shape[1]):
        distances += np.abs(X[:, f, np.newaxis] - centers[:, f])
    return distances


def weighted_median(values, weights):
    """The least value up to which half the weight lies, or its mean with the next at exactly half.

    Exactly up to the rounding of sums. NaN without weight.
    """
    values, weights = values[weights > 0], weights[weights > 0]
    if len(values) == 0:
        return np.nan
    half = weights.sum() / 2
    order = np.argsort(values)
    median = values[order][np.cumsum(weights[order]) >= half * (1 - 1e-12)][0]
    greater = values[values > median]
    exactly = np.isclose(weights[values <= median].sum(), half, 1e-12, 0) and len(greater)
    return (median + greater.min()) / 2 if exactly else median


def cluster_medians(X, labels, n_clusters, sample_weight=None):
    """NaN for clusters without weight."""
    medians = np.full((n_clusters, X.shape[1]), np.nan, X.dtype)
    for j in range(n_clusters):
        own = labels == j
        if sample_weight is not None:
            columns = X[own].T
            medians[j] = [weighted_median(column, sample_weight[own]) for column in columns]
        elif own.any():
            medians[j] = np.median(X[own], axis=0)
    return medians


def kmedians(X, init, sample_weight=None, max_iter=300):
    """Plain K-medians until no centre moves.

    Clusters without weight move to the rows of positive weight farthest from their centres. Returns
    labels, centres, the history of the inertia and the number of iterations.
    """
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    centers, history = np.array(init, float), []
    for n_iter in range(1, max_iter + 1):  # noqa: B007
        old_centers = centers
        distances = l1_distances(X, centers)
        labels, own = distances.argmin(axis=1), distances.min(axis=1)
        history.append(weights @ own)
        centers = cluster_medians(X, labels, len(centers), sample_weight).astype(float)
        empty = np.flatnonzero(np.isnan(centers).any(axis=1))
        centers[empty] = old_centers[empty]
        farthest = np.argsort(-np.where(weights > 0, own, 0), kind="stable")[: len(empty)]
        farthest = farthest[own[farthest] * weights[farthest] > 0]
        centers[empty[: len(farthest)]] = X[farthest]
        if np.array_equal(centers, old_centers):
            break
    else:
        labels = l1_distances(X, centers).argmin(axis=1)
    return labels, centers, history, n_iter


COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")


def covariance_matrices(covariances, covariance_type, n_components, n_features):
    """Covariances of any type as a matrix for each component."""
    covariances, identity = np.asarray(covariances, float), np.eye(n_features)
    if covariance_type == "diag":
        covariances = covariances[:, :, np.newaxis] * identity
    elif covariance_type == "spherical":
        covariances = covariances[:, np.newaxis, np.newaxis] * identity
    elif covariance_type in ("tied_diag", "tied_spherical"):
        covariances = covariances * identity
    return np.broadcast_to(covariances, (n_components, n_features, n_features))


def gaussian_log_joint(X, weights, means, covariances):
    """``log(weight * density)`` of each row and component; covariances are matrices."""
    return np.stack(
        [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(X).reshape(len(X))
            for weight, mean, covariance in zip(weights, means, covariances, strict=True)
        ],
        axis=1,
    )


def whitened_log_joint(X, log_weights, means, factors):
    """The same from upper triangular factors of the precisions, with all the digits there are."""
    X, means, factors = (np.asarray(array, np.longdouble) for array in (X, means, factors))
    columns = []
    for log_weight, mean, factor in zip(log_weights, means, factors, strict=True):
        squares = (((X - mean) @ factor) ** 2).sum(axis=1)
        peak = np.log(np.diag(factor)).sum() - X.shape[1] / 2 * np.log(2 * np.longdouble(np.pi))
        columns.append(log_weight + peak - squares / 2)
    return np.stack(columns, axis=1)


def responsibilities_of(log_joint, hard=False):
    """Log-densities and responsibilities of rows that are possible."""
    greatest = log_joint.max(axis=1, keepdims=True)
    shares = np.exp(log_joint - greatest)
    if hard:
        shares = np.eye(log_joint.shape[1])[log_joint.argmax(axis=1)]
    total = shares.sum(axis=1, keepdims=True)
    return (greatest + np.log(total))[:, 0], shares / total


def scatter_statistics(X, responsibilities, centers):
    """Sums of responsibilities, and of differences and their products."""
    differences = np.asarray(X, float)[:, np.newaxis] - centers
    sums = np.einsum("nk,nki->ki", responsibilities, differences)
    weighted = responsibilities[:, :, np.newaxis] * differences
    scatter = np.stack(
        [weighted[:, k].T @ differences[:, k] for k in range(responsibilities.shape[1])]
    )
    return responsibilities.sum(axis=0), sums, scatter


def gaussian_m_step(X, responsibilities, covariance_type, reg_covar=0.0):
    """Weights, means and covariances; of weighted rows the responsibilities are multiplied."""
    X = np.asarray(X, float)
    n_features = X.shape[1]
    counts = responsibilities.sum(axis=0)
    means = responsibilities.T @ X / counts[:, np.newaxis]
    differences = X[:, np.newaxis] - means
    scatter = np.einsum("nk,nki,nkj->kij", responsibilities, differences, differences)
    if covariance_type.startswith("tied"):
        covariances = scatter.sum(axis=0) / counts.sum()
    else:
        covariances = scatter / counts[:, np.newaxis, np.newaxis]
    covariances = covariances + reg_covar * np.eye(n_features)
    if covariance_type.endswith("diag"):
        covariances = np.einsum("...ii->...i", covariances)
    elif covariance_type.endswith("spherical"):
        covariances = np.einsum("...ii", covariances) / n_features
    return counts / counts.sum(), means, covariances


def gaussian_em(
    X,
    parameters,
    covariance_type,
    n_iter,
    sample_weight=None,
    reg_covar=0.0,
    hard=False,
    noise=None,
):
    """EM from weights, means and covariances: these afterwards, and the history.

    ``noise`` is the logarithm of its density, if there is any: then its weight is the last of all.
    """
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    history = []
    for _ in range(n_iter):
        weights, means, covariances = parameters
        matrices = covariance_matrices(covariances, covariance_type, *means.shape)
        log_joint = gaussian_log_joint(X, weights[: len(means)], means, matrices)
        if noise is not None:
            column = np.full(len(X), np.log(weights[-1]) + noise)
            log_joint = np.column_stack([log_joint, column])
        if hard:
            log_density = log_joint.max(axis=1)
            responsibilities = np.eye(len(weights))[log_joint.argmax(axis=1)]
        else:
            log_density = logsumexp(log_joint, axis=1)
            responsibilities = np.exp(log_joint - log_density[:, np.newaxis])
        history.append(w @ log_density / w.sum())
        responsibilities *= w[:, np.newaxis]
        shares = responsibilities[:, : len(means)]
        _, means, covariances = gaussian_m_step(X, shares, covariance_type, reg_covar)
        counts = responsibilities.sum(axis=0)
        parameters = counts / counts.sum(), means, covariances
    return parameters, history


def moments_of_mixture(weights, means, covariances):
    """Mean and covariance; covariances are matrices."""
    mean = sum(weight * m for weight, m in zip(weights, means, strict=True))
    covariance = sum(
        weight * (C + np.outer(m - mean, m - mean))
        for weight, m, C in zip(weights, means, covariances, strict=True)
    )
    return mean, covariance


def conditional_gaussian(mean, covariance, given, rest, value):
    """Mean and covariance of the rest, as textbooks have them."""
    slope = covariance[np.ix_(rest, given)] @ np.linalg.inv(covariance[np.ix_(given, given)])
    return (
        mean[rest] + slope @ (value - mean[given]),
        covariance[np.ix_(rest, rest)] - slope @ covariance[np.ix_(given, rest)],
    )


def gaussian_kl(mean_p, covariance_p, mean_q, covariance_q):
    """KL(p || q) of two Gaussians, as textbooks have it; covariances are matrices."""
    inverse, difference = np.linalg.inv(covariance_q), mean_q - mean_p
    log_ratio = np.linalg.slogdet(covariance_q)[1] - np.linalg.slogdet(covariance_p)[1]
    trace = np.trace(inverse @ covariance_p)
    return (trace - len(mean_p) + difference @ inverse @ difference + log_ratio) / 2


def variational_kl(weights_p, weights_q, kl_pp, kl_pq):
    """Equation 20 of Hershey and Olsen, 2007, from components' divergences."""
    total = 0.0
    for a in range(len(weights_p)):
        above = sum(w * np.exp(-kl) for w, kl in zip(weights_p, kl_pp[a], strict=True))
        below = sum(w * np.exp(-kl) for w, kl in zip(weights_q, kl_pq[a], strict=True))
        total += weights_p[a] * np.log(above / below)
    return total


def bernoulli_log_density(X, probabilities):
    """Log-density of each row of zeros and ones under each component."""
    with np.errstate(divide="ignore"):
        present, absent = np.log(probabilities), np.log1p(-np.asarray(probabilities))
    ones = np.asarray(X, bool)[:, np.newaxis]
    return np.where(ones, present, absent).sum(axis=2)


def bernoulli_e_step(X, weights, probabilities, hard=False):
    """Log-densities and responsibilities; an impossible row has none."""
    with np.errstate(divide="ignore"):
        log_joint = np.log(weights) + bernoulli_log_density(X, probabilities)
    greatest = log_joint.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(greatest), greatest, 0.0)
    shares = np.exp(log_joint - finite)
    if hard:
        shares = np.eye(len(weights))[log_joint.argmax(axis=1)] * np.isfinite(greatest)
    total = shares.sum(axis=1, keepdims=True)
    responsibilities = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    with np.errstate(divide="ignore"):
        log_density = greatest[:, 0] if hard else (finite + np.log(total))[:, 0]
    return log_density, responsibilities


def bernoulli_em(X, weights, probabilities, n_iter, sample_weight=None, alpha=0.0, hard=False):
    """EM from weights and probabilities: these afterwards, and the history.

    With ``alpha`` the objective is the log-likelihood plus ``alpha`` times the logarithms of all
    probabilities of ones and zeros.
    """
    X = np.asarray(X, float)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    history = []
    for _ in range(n_iter):
        log_density, responsibilities = bernoulli_e_step(X, weights, probabilities, hard)
        objective = w[w > 0] @ log_density[w > 0]
        if alpha > 0:
            with np.errstate(divide="ignore"):
                objective += alpha * np.log([probabilities, 1 - probabilities]).sum()
        history.append(objective / w.sum())
        responsibilities = responsibilities * w[:, np.newaxis]
        counts = responsibilities.sum(axis=0)
        weights = counts / counts.sum()
        probabilities = (responsibilities.T @ X + alpha) / (counts[:, np.newaxis] + 2 * alpha)
        probabilities = np.minimum(probabilities, 1.0)  # but for rounding
    return weights, probabilities, history


def poisson_log_joint(X, weights, rates):
    """Log of weight times density of every row of counts under every component."""
    return np.log(weights) + poisson.logpmf(X[:, None], rates).sum(axis=2)


def poisson_em(X, weights, rates, n_iter, sample_weight=None, hard=False):
    """EM for a mixture of Poissons: weights, rates, and the objective before each iteration."""
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    history = []
    for _ in range(n_iter):
        log_joint = poisson_log_joint(X, weights, rates)
        log_density = log_joint.max(axis=1) if hard else logsumexp(log_joint, axis=1)
        history.append(w @ log_density / w.sum())
        r = responsibilities_of(log_joint, hard)[1] * w[:, None]
        weights, rates = r.sum(axis=0) / w.sum(), r.T @ X / r.sum(axis=0)[:, None]
    return weights, rates, history


def silhouettes(X, labels, distances):
    """``(b - a) / max(a, b)`` of each row, from ``distances(X, X)``; 0 in a cluster of one row."""
    labels = np.asarray(labels)
    values = distances(X, X)
    result = np.zeros(len(labels))
    for i, label in enumerate(labels):
        own = labels == label
        if own.sum() > 1:
            a = values[i, own].sum() / (own.sum() - 1)
            b = min(values[i, labels == other].mean() for other in set(labels) - {label})
            result[i] = (b - a) / max(a, b) if max(a, b) > 0 else 0
    return result


def simplified_silhouettes(distances, labels):
    """The same from the distances to the clusters' centres."""
    result = np.zeros(len(labels))
    for i, label in enumerate(labels):
        a, b = distances[i, label], min(np.delete(distances[i], label))
        result[i] = (b - a) / max(a, b) if max(a, b) > 0 else 0
    return result


def true_values(x, mean, covariance, error=0.0):
    """Of one row under one Gaussian, NaN being what was not observed.

    The log-density of what was, and mean and covariance of the row as it is without gaps and errors
    of this covariance.
    """
    seen = ~np.isnan(x)
    if not seen.any():
        return 0.0, mean, covariance
    total = (covariance + error)[np.ix_(seen, seen)]
    inverse, delta = np.linalg.inv(total), (x - mean)[seen]
    slope = covariance[:, seen] @ inverse
    constant = np.linalg.slogdet(total)[1] + len(delta) * np.log(2 * np.pi)
    log_density = -0.5 * (constant + delta @ inverse @ delta)
    return log_density, mean + slope @ delta, covariance - slope @ covariance[seen]


def incomplete_e_step(X, parameters, errors=None, hard=False):
    """Log-densities, responsibilities, and means and covariances of the rows' true values.

    Covariances are matrices, ``errors`` those of each row.
    """
    weights, means, covariances = parameters
    n_rows, n_features = X.shape
    errors = np.zeros((n_rows, 1, 1)) if errors is None else errors
    log_joint = np.empty((n_rows, len(weights)))
    rows = np.empty((n_rows, len(weights), n_features))
    spreads = np.empty((n_rows, len(weights), n_features, n_features))
    for n, x in enumerate(np.asarray(X, float)):
        for k in range(len(weights)):
            log_joint[n, k], rows[n, k], spreads[n, k] = true_values(
                x, means[k], covariances[k], errors[n]
            )
    log_density, responsibilities = responsibilities_of(log_joint + np.log(weights), hard)
    return log_density, responsibilities, rows, spreads


def incomplete_statistics(responsibilities, rows, spreads, centers):
    """Counts, sums and scatter of true values about the centres."""
    delta = rows - centers
    scatter = np.einsum("nk,nki,nkj->kij", responsibilities, delta, delta)
    scatter += np.einsum("nk,nkij->kij", responsibilities, spreads)
    return responsibilities.sum(axis=0), np.einsum("nk,nki->ki", responsibilities, delta), scatter
