"""A user's file that mypy reads: every public name, called as the docs say, with its types."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastem
from fastem import (
    BernoulliMixture,
    CriterionSearch,
    GaussianMixture,
    KMeans,
    KMedians,
    em,
    kernels,
    kl_divergence,
    kl_gaussian,
    kmeans_plusplus,
    rows,
    silhouette_samples,
    silhouette_score,
    simplified_silhouette_samples,
    simplified_silhouette_score,
)

Floats = NDArray[np.floating[Any]]
X = np.random.default_rng(0).normal(size=(100, 2))
weights = np.ones(100)

assert_type(fastem.__version__, str)

kmeans = KMeans(n_clusters=3, random_state=0, search="breathing").fit(X, sample_weight=weights)
assert_type(kmeans, KMeans)
assert_type(kmeans.cluster_centers_, Floats)
assert_type(kmeans.labels_, NDArray[np.int32])
assert_type(kmeans.inertia_, float)
assert_type(kmeans.n_iter_, int)
assert_type(kmeans.n_features_in_, int)
assert_type(kmeans.predict(X), NDArray[np.int32])
assert_type(kmeans.fit_predict(X), NDArray[np.int32])
assert_type(kmeans.transform(X), Floats)
assert_type(kmeans.fit_transform(X), Floats)
assert_type(kmeans.score(X), float)

kmedians = KMedians(n_clusters=3).fit(X)
assert_type(kmedians, KMedians)
assert_type(kmedians.cluster_centers_, Floats)
assert_type(kmedians.predict(X), NDArray[np.int32])

gaussian = GaussianMixture(n_components=2, covariance_type="tied", fixed=("means",)).fit(X)
searched = GaussianMixture(n_components=2, search="breathing").fit(X)
assert_type(gaussian, GaussianMixture)
assert_type(gaussian.weights_, Floats)
assert_type(gaussian.means_, Floats)
assert_type(gaussian.covariances_, Floats)
assert_type(gaussian.precisions_, Floats)
assert_type(gaussian.precisions_cholesky_, Floats)
assert_type(gaussian.converged_, bool)
assert_type(gaussian.lower_bound_, float)
assert_type(gaussian.lower_bounds_, list[float])
assert_type(gaussian.predict(X), NDArray[np.int64])
assert_type(gaussian.fit_predict(X), NDArray[np.int64])
assert_type(gaussian.predict_proba(X), Floats)
assert_type(gaussian.score_samples(X), Floats)
assert_type(gaussian.score(X), float)
assert_type(gaussian.sample(3), tuple[NDArray[np.float64], NDArray[np.int64]])
assert_type(gaussian.aic(X), float)
assert_type(gaussian.bic(X), float)
assert_type(gaussian.icl(X), float)
assert_type(gaussian.elbo(X), float)
assert_type(gaussian.posterior_kl(X, gaussian.predict_proba(X)), float)
assert_type(gaussian.complete_log_likelihood(X, gaussian.predict(X)), float)
assert_type(gaussian.expected_complete_log_likelihood(X), float)
known = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [[1.0, 1.0]], "diag")
assert_type(known, GaussianMixture)
assert_type(known.convolve(known), GaussianMixture)
assert_type(known.marginal([0]), GaussianMixture)
known.mean().sum()
known.covariance().sum()
known.condition([0], [1.0])

incomplete = GaussianMixture(2, missing="em").fit(X, noise=np.ones(2))
assert_type(incomplete, GaussianMixture)
assert_type(incomplete.predict(X, noise=np.ones(2)), NDArray[np.int64])
assert_type(incomplete.fit_predict(X, noise=np.ones(2)), NDArray[np.int64])
assert_type(incomplete.predict_proba(X, noise=np.ones(2)), Floats)
assert_type(incomplete.score_samples(X, noise=np.ones(2)), Floats)
assert_type(incomplete.impute(X), Floats)
assert_type(incomplete.impute(X, draw=True, random_state=0), Floats)
assert_type(incomplete.denoise(X, np.ones(2)), tuple[NDArray[np.float64], NDArray[np.float64]])
assert_type(BernoulliMixture(2, missing="em").fit(X).impute(X), Floats)

bernoulli = BernoulliMixture(2, alpha=1.0).fit(X)
assert_type(bernoulli, BernoulliMixture)
assert_type(bernoulli.probabilities_, Floats)
assert_type(bernoulli.predict(X), NDArray[np.int64])

centers, indices = kmeans_plusplus(X, 3, random_state=0)
centers.sum()
indices.sum()
assert_type(kl_gaussian([0.0], [1.0], [1.0], [1.0]), float)
kl_divergence(known, known)
silhouette_samples(X, kmeans.labels_).sum()
simplified_silhouette_samples(X, kmeans.labels_).sum()
assert_type(silhouette_score(X, kmeans.labels_), float)
assert_type(simplified_silhouette_score(X, kmeans.labels_), float)
CriterionSearch(GaussianMixture(), {"n_components": [1, 2]}).fit(X)

kernels.squared_euclidean(X, X).sum()
kernels.manhattan(X, X).sum()
kernels.cholesky(np.eye(2)).sum()
kernels.bernoulli_log_density(X, np.full((2, 2), 0.5)).sum()
kernels.gaussian_log_density(X, X[:2], np.ones((2, 2)), "diag").sum()
labels, distances = kernels.nearest(X, X)
log_density, responsibilities = kernels.normalize_responsibilities(X)
kernels.cluster_medians(X, np.zeros(100, np.int64), 1)


class Poissons(em.Mixture):
    pass


em.fit(em.Model(), rows.array_rows(X, None), max_iter=3)
rows.LocalRows([rows.Part(X)]).take(np.arange(3)).sum()
KMeans().fit(rows.mpi_rows(X, sample_weight=X[:, 0])).predict(X)
