import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import cluster, mixture
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import NotFittedError
from sklearn.mixture import BayesianGaussianMixture

from fastem import GaussianMixture, KMeans

DTYPES = [np.float32, np.float64]
TYPES = ["full", "tied", "diag", "spherical"]
METHODS = ("predict_proba", "score_samples")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 3)) + rng.integers(3, size=(200, 1)) * [4.0, 0.0, 8.0]


def first_rows(X, n_clusters, random_state):
    return X[:n_clusters]


def tolerance(dtype):
    return {"rtol": 1e-9, "atol": 1e-9} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-4}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("init", ["k-means++", "random_partition", "given", "callable"])
def test_kmeans_to_scikit_learn(X, init, dtype):
    X = X.astype(dtype)
    start = {"given": X[:4], "callable": first_rows}.get(init, init)
    ours = KMeans(4, init=start, n_init=1, tol=1e-3, random_state=0).fit(X)
    theirs = ours.to_sklearn()
    assert type(theirs) is cluster.KMeans
    np.testing.assert_array_equal(theirs.cluster_centers_, ours.cluster_centers_)
    np.testing.assert_array_equal(theirs.predict(X), ours.predict(X))
    np.testing.assert_allclose(theirs.transform(X), ours.transform(X), **tolerance(dtype))
    assert theirs.score(X) == pytest.approx(ours.score(X), rel=1e-4)
    assert theirs.inertia_ == ours.inertia_ and theirs.n_iter_ == ours.n_iter_
    assert theirs.n_clusters == 4 and theirs.tol == 1e-3 and theirs.random_state == 0
    theirs.fit(X)  # every parameter is one that it takes
    again = pickle.loads(pickle.dumps(ours.to_sklearn()))
    np.testing.assert_array_equal(again.predict(X), ours.labels_)
    back = KMeans.from_sklearn(again)
    np.testing.assert_array_equal(back.predict(X), ours.labels_)
    np.testing.assert_array_equal(back.cluster_centers_, ours.cluster_centers_)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_kmeans_from_scikit_learn(X, offset, dtype):
    X = (X + offset).astype(dtype)
    theirs = cluster.KMeans(4, n_init=2, algorithm="elkan", random_state=0).fit(X)
    ours = KMeans.from_sklearn(theirs)
    assert ours.get_params()["algorithm"] == "elkan" and ours.n_init == 2
    # Far from zero scikit-learn's own prediction in float32 is not what its fit found: 28 rows.
    np.testing.assert_array_equal(ours.predict(X), theirs.labels_)
    if offset == 0:
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.score(X) == pytest.approx(-theirs.inertia_, rel=1e-4)
    ours.fit(X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_mixtures_both_ways(X, covariance_type, dtype):
    X = X.astype(dtype)
    ours = GaussianMixture(3, covariance_type=covariance_type, reg_covar=1e-5, random_state=0)
    theirs = ours.fit(X).to_sklearn()
    assert type(theirs) is mixture.GaussianMixture
    assert theirs.reg_covar == 1e-5 and theirs.covariance_type == covariance_type
    assert theirs.lower_bounds_ == ours.lower_bounds_ and theirs.converged_
    fitted = mixture.GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    for one, other in ((ours, theirs), (fitted, GaussianMixture.from_sklearn(fitted))):
        np.testing.assert_array_equal(one.predict(X), other.predict(X))
        for name in METHODS:
            found, expected = getattr(other, name)(X), getattr(one, name)(X)
            np.testing.assert_allclose(found, expected, **tolerance(dtype))
        assert other.bic(X) == pytest.approx(one.bic(X), rel=1e-4)
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
    theirs.fit(X)


@pytest.mark.parametrize(("model", "name"), [("VVV", "full"), ("VII", "spherical")])
def test_models_that_scikit_learn_has_by_another_name(X, model, name):
    ours = GaussianMixture(2, covariance_type=model, random_state=0).fit(X)
    theirs = ours.to_sklearn()
    assert theirs.covariance_type == name
    np.testing.assert_allclose(theirs.score_samples(X), ours.score_samples(X), rtol=1e-9)


def test_a_mixture_with_known_parameters(X):
    ours = GaussianMixture.from_parameters([0.4, 0.6], [[0.0], [3.0]], [1.0, 0.5], "spherical")
    theirs = ours.to_sklearn()
    np.testing.assert_allclose(
        theirs.score_samples(X[:, :1]), ours.score_samples(X[:, :1]), rtol=1e-9
    )


@pytest.mark.parametrize("model", [KMeans, GaussianMixture])
def test_names_of_features_and_copies(X, model):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    ours = model(2, random_state=0).fit(frame)
    theirs = ours.to_sklearn()
    assert list(theirs.feature_names_in_) == ["a", "b", "c"]
    back = model.from_sklearn(theirs)
    assert list(back.feature_names_in_) == ["a", "b", "c"]
    expected = ours.predict(frame)
    for name, value in vars(theirs).items():
        if name.endswith("_") and isinstance(value, np.ndarray) and value.dtype.kind == "f":
            value[:] = -1.0
    np.testing.assert_array_equal(ours.predict(frame), expected)
    np.testing.assert_array_equal(back.predict(frame), expected)


def test_refusals(X):
    for model in (KMeans, GaussianMixture):
        with pytest.raises(NotFittedError):
            model().to_sklearn()
    with pytest.raises(NotFittedError):
        KMeans.from_sklearn(cluster.KMeans())
    with pytest.raises(ValueError, match="scikit-learn has no covariance_type 'VEV'"):
        GaussianMixture(2, covariance_type="VEV", random_state=0).fit(X).to_sklearn()
    with pytest.raises(TypeError, match=r"takes a sklearn\.cluster\.KMeans, got Mini"):
        KMeans.from_sklearn(MiniBatchKMeans(2, random_state=0).fit(X))
    with pytest.raises(TypeError, match=r"takes a sklearn\.mixture\.GaussianMixture, got"):
        GaussianMixture.from_sklearn(BayesianGaussianMixture(n_components=2, random_state=0).fit(X))
