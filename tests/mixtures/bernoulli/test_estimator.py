import pickle
import warnings
from functools import partial
from itertools import pairwise

import numba
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import bernoulli_e_step, bernoulli_em, bernoulli_log_density
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB
from sklearn.utils.estimator_checks import check_estimator

from fastem import BernoulliMixture
from fastem.mixtures.bernoulli.estimator import _make_pass
from fastem.mixtures.bernoulli.start import start_probabilities
from fastem.rows import LocalRows, Part, array_rows


class WithoutProbabilities(BernoulliMixture):
    """scikit-learn's checks take whatever has predict_proba and sparse input for a classifier."""

    @property
    def predict_proba(self):
        raise AttributeError("predict_proba")


@pytest.mark.parametrize("n_components", [1, 3])
def test_scikit_learns_estimator_checks(n_components):
    results = check_estimator(WithoutProbabilities(n_components), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    results = check_estimator(BernoulliMixture(n_components), on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert failed <= {"check_estimator_sparse_array", "check_estimator_sparse_matrix"}


@pytest.fixture(scope="module")
def problem():
    """Rows of three overlapping groups, and their groups."""
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.6, 0.6, size=(3, 13))
    y = rng.integers(3, size=400)
    return rng.random((400, 13)) < probabilities[y], y


@pytest.fixture(scope="module")
def X(problem):
    return problem[0]


@pytest.fixture(scope="module")
def start():
    rng = np.random.default_rng(1)
    return {
        "weights_init": rng.dirichlet(np.ones(3)),
        "probabilities_init": rng.uniform(0.2, 0.8, size=(3, 13)),
    }


def fit(X, *args, sample_weight=None, **options):
    """A fit that needn't converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return BernoulliMixture(*args, **options).fit(X, sample_weight=sample_weight)


def assert_same(model, weights, probabilities, history):
    np.testing.assert_allclose(model.weights_, weights, rtol=1e-10)
    np.testing.assert_allclose(model.probabilities_, probabilities, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.lower_bounds_, history, rtol=1e-11)
    assert model.lower_bound_ == model.lower_bounds_[-1]
    assert model.n_iter_ == len(history)


# The same as the textbook's EM.


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("weighted", [False, True])
def test_plain_em(weighted, assignment, alpha, X, start):
    w = np.random.default_rng(2).integers(0, 4, size=len(X)) / 2 if weighted else None
    model = fit(
        X, 3, **start, max_iter=12, tol=0, assignment=assignment, alpha=alpha, sample_weight=w
    )
    expected = bernoulli_em(X, *start.values(), model.n_iter_, w, alpha, assignment == "hard")
    assert model.n_iter_ == 12 or assignment == "hard"
    assert_same(model, *expected)


def test_fixed_weights_are_the_uniform_prior_model(X, start):
    probabilities = start["probabilities_init"]
    for _ in range(5):
        _, responsibilities = bernoulli_e_step(X, np.full(3, 1 / 3), probabilities)
        probabilities = responsibilities.T @ X / responsibilities.sum(axis=0)[:, np.newaxis]
    model = fit(
        X,
        3,
        fixed=("weights",),
        probabilities_init=start["probabilities_init"],
        max_iter=5,
        tol=0,
    )
    np.testing.assert_array_equal(model.weights_, np.full(3, 1 / 3))
    np.testing.assert_allclose(model.probabilities_, probabilities, rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_fixed_probabilities(alpha, X, start):
    _, responsibilities = bernoulli_e_step(X, *start.values())
    model = fit(X, 3, **start, fixed=["probabilities"], max_iter=1, alpha=alpha)
    np.testing.assert_array_equal(model.probabilities_, start["probabilities_init"])
    np.testing.assert_allclose(model.weights_, responsibilities.mean(axis=0), rtol=1e-12)
    everything = BernoulliMixture(3, **start, fixed={"weights", "probabilities"}, alpha=alpha)
    everything.fit(X)
    assert everything.n_iter_ == 2
    np.testing.assert_array_equal(everything.weights_, start["weights_init"])


def test_one_component_is_the_mean(X):
    model = BernoulliMixture().fit(X)
    np.testing.assert_allclose(model.probabilities_[0], X.mean(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(model.weights_, [1.0])
    smooth = BernoulliMixture(alpha=1.5).fit(X)
    np.testing.assert_allclose(smooth.probabilities_[0], (X.sum(axis=0) + 1.5) / (len(X) + 3))


def test_hard_assignment_to_known_classes_is_naive_bayes(problem):
    """A naive Bayes classifier's M-step is one of classification EM, its E-step a prediction."""
    X, y = problem
    classifier = BernoulliNB(alpha=1.0, binarize=None).fit(X, y)
    start = {
        "weights_init": np.exp(classifier.class_log_prior_),
        "probabilities_init": np.exp(classifier.feature_log_prob_),
    }
    model = fit(X, 3, **start, fixed=("weights", "probabilities"))
    np.testing.assert_array_equal(model.predict(X), classifier.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), classifier.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(
        np.log(model.predict_proba(X)) + model.score_samples(X)[:, np.newaxis],
        classifier.predict_joint_log_proba(X),
        rtol=1e-10,
    )


# All kinds of input are the same.

KINDS = {
    "uint8": lambda X: X.astype(np.uint8),
    "int64": lambda X: X.astype(np.int64),
    "float32": lambda X: X.astype(np.float32),
    "float64": lambda X: X.astype(float),
    "Fortran": lambda X: np.asfortranarray(X.astype(float)),
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "read-only": lambda X: np.frombuffer(X.tobytes(), bool).reshape(X.shape),
    "list": lambda X: X.astype(int).tolist(),
    "frame": lambda X: pd.DataFrame(X),
    "csr_array": lambda X: sp.csr_array(X.astype(float)),
    "csr_matrix": lambda X: sp.csr_matrix(X),
    "csc": lambda X: sp.csc_array(X.astype(np.int64)),
    "stored zeros": lambda X: sp.csr_array((X.ravel() * 1, np.indices(X.shape).reshape(2, -1))),
}


@pytest.mark.parametrize("binarize", [0.0, None])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_input(kind, binarize, X, tmp_path):
    expected = BernoulliMixture(3, n_init=2, random_state=0).fit(X)
    rows = KINDS[kind](X)
    model = BernoulliMixture(3, n_init=2, random_state=0, binarize=binarize).fit(rows)
    np.testing.assert_allclose(model.probabilities_, expected.probabilities_, rtol=1e-11)
    np.testing.assert_allclose(model.weights_, expected.weights_, rtol=1e-11)
    assert model.n_iter_ == expected.n_iter_
    np.testing.assert_array_equal(model.predict(rows), expected.predict(X))
    np.testing.assert_allclose(model.score_samples(rows), expected.score_samples(X), rtol=1e-11)
    assert model.score_samples(rows).dtype == model.probabilities_.dtype == np.float64


def test_csr_with_repeated_indices(X):
    """Values at the same place add up, as everywhere in SciPy."""
    twice = sp.csr_array(X.astype(float))
    twice = sp.csr_array(
        (
            np.tile(twice.data, 2),
            np.tile(twice.indices, 2),
            np.append(0, np.full(1, 2 * twice.nnz)),
        ),
        shape=(1, X.shape[1]),
    )
    row = X.any(axis=0, keepdims=True)
    model = fit(X, 2, random_state=0)
    np.testing.assert_allclose(model.score_samples(twice), model.score_samples(row), rtol=1e-12)
    assert twice.nnz == 2 * np.count_nonzero(X)


def test_memory_mapped_rows(X, tmp_path):
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    model = BernoulliMixture(3, random_state=0).fit(mapped)
    expected = BernoulliMixture(3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.probabilities_, expected.probabilities_)
    np.testing.assert_array_equal(model.predict_proba(mapped), expected.predict_proba(X))


@pytest.mark.parametrize("binarize", [0.0, 0.7, 3])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_binarize(binarize, container):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, size=(200, 9)) * 1.0
    model = fit(container(X), 2, binarize=binarize, random_state=0)
    bits = X > binarize
    expected = fit(bits, 2, random_state=0)
    np.testing.assert_allclose(model.probabilities_, expected.probabilities_, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(container(X)), expected.predict(bits))


# Weights, repetition, order.


@pytest.mark.parametrize("kind", ["bool", "csr"])
def test_integer_weights_repeat_rows(kind, X):
    rng = np.random.default_rng(0)
    w = rng.integers(0, 4, size=len(X))
    repeated = np.repeat(X, w, axis=0)
    shuffled = repeated[rng.permutation(len(repeated))]
    if kind == "csr":
        X, repeated, shuffled = (
            sp.csr_array(rows.astype(float)) for rows in (X, repeated, shuffled)
        )
    weighted = fit(X, 3, random_state=0, sample_weight=w, max_iter=20)
    for rows in (repeated, shuffled):
        model = fit(rows, 3, random_state=0, max_iter=20)
        np.testing.assert_allclose(model.probabilities_, weighted.probabilities_, atol=1e-9)
        np.testing.assert_allclose(model.lower_bounds_, weighted.lower_bounds_, rtol=1e-11)
    scaled = fit(X, 3, random_state=0, sample_weight=w * 1e-5, max_iter=20)
    np.testing.assert_allclose(scaled.probabilities_, weighted.probabilities_, atol=1e-9)
    assert weighted.score(X, sample_weight=w) == pytest.approx(model.score(repeated), rel=1e-10)


def test_number_of_threads(X):
    rng = np.random.default_rng(0)
    X = rng.random((30_000, 20)) < rng.random(20)
    found = []
    for n_threads in (1, 2):
        before = numba.get_num_threads()
        numba.set_num_threads(n_threads)
        found.append(fit(X, 9, random_state=0, max_iter=5))
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0].probabilities_, found[1].probabilities_)
    assert found[0].lower_bounds_ == found[1].lower_bounds_


# The start.


def test_start_finds_separate_groups():
    """From random responsibilities EM finds all of these groups in three starts of ten."""
    rng = np.random.default_rng(0)
    probabilities = np.where(rng.random((12, 60)) < 0.5, 0.1, 0.9)
    y = rng.integers(12, size=20_000)
    X = rng.random((20_000, 60)) < probabilities[y]
    for seed in range(5):
        model = BernoulliMixture(12, random_state=seed).fit(X)
        assert adjusted_rand_score(y, model.predict(X)) > 0.99


def unlike_groups(n_rows, n_features, n_components, rate):
    """Rows of groups whose features have log-normal rates, the groups, and the true model."""
    rng = np.random.default_rng(0)
    rates = rate * np.exp(rng.normal(size=(n_components, n_features)))
    probabilities = np.clip(rates, 0.05 * rate, 0.9)
    y = rng.integers(n_components, size=n_rows)
    return rng.random((n_rows, n_features)) < probabilities[y], y, probabilities


@pytest.mark.parametrize(
    ("n_features", "n_components", "rate"),
    [(5000, 4, 0.01), (1000, 4, 0.02), (1000, 10, 0.02), (300, 5, 0.1), (200, 5, 0.4)],
)
def test_start_finds_groups_where_ones_are_rare(n_features, n_components, rate):
    """Rows of few ones are near all others by the Hamming distance, and took all rows."""
    X, y, probabilities = unlike_groups(4000, n_features, n_components, rate)
    weights = np.full(n_components, 1 / n_components)
    true, _ = bernoulli_e_step(X, weights, probabilities)
    for rows in (X, sp.csr_array(X.astype(float))):
        model = BernoulliMixture(n_components, random_state=0).fit(rows)
        assert adjusted_rand_score(y, model.predict(rows)) > 0.95
        assert model.score(rows) > true.mean()  # of parameters that these rows know nothing of


@pytest.mark.parametrize("n_rows", [900, 6000])
@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_sparse_rows_start_as_dense_ones(rate, n_rows):
    X, _, _ = unlike_groups(n_rows, 200, 3, rate)
    w = np.random.default_rng(1).integers(0, 3, size=n_rows) * 1.0
    make_pass = partial(_make_pass, n_components=6, threshold=0.5)
    dense, sparse = (
        start_probabilities(array_rows(rows, w), make_pass, 6, np.random.RandomState(0))
        for rows in (X, sp.csr_array(X.astype(float)))
    )
    np.testing.assert_allclose(sparse, dense, rtol=1e-8)


@pytest.mark.parametrize("n_rows", [900, 9000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_start_does_not_depend_on_parts(container, weighted, n_rows):
    rng = np.random.default_rng(0)
    X = container((rng.random((n_rows, 30)) < rng.random(30)).astype(float))
    w = rng.integers(0, 3, size=n_rows) * 1.0 if weighted else None
    make_pass = partial(_make_pass, n_components=5, threshold=0.5)
    cuts = [0, 1, n_rows // 3, n_rows]
    parts = [Part(X[a:b], None if w is None else w[a:b], a) for a, b in pairwise(cuts)]
    starts = [
        start_probabilities(rows, make_pass, 5, np.random.RandomState(0))
        for rows in (array_rows(X, w), LocalRows(parts))
    ]
    np.testing.assert_array_equal(*starts)


def test_restarts_keep_the_best(X):
    single = [fit(X, 5, random_state=np.random.RandomState(seed)) for seed in range(6)]
    assert len({model.lower_bound_ for model in single}) > 1
    best = fit(X, 5, n_init=6, random_state=0)
    lone = fit(X, 5, n_init=1, random_state=0)
    assert best.lower_bound_ >= lone.lower_bound_
    assert best.lower_bound_ == best.lower_bounds_[-1]


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_fewer_different_rows_than_components(container):
    X = np.repeat(np.eye(3), 5, axis=0)
    model = fit(container(X), 6, random_state=0)
    assert np.isfinite(model.lower_bounds_).all()
    assert len(np.unique(model.probabilities_, axis=0)) > 1
    np.testing.assert_allclose(model.score(X), np.log(1 / 3), atol=0.05)


@pytest.mark.parametrize("value", [0, 1])
def test_constant_rows(value):
    X = np.full((20, 9), value)
    for alpha in (0.0, 1.0):
        model = BernoulliMixture(2, random_state=0, alpha=alpha).fit(X)
        assert np.isfinite(model.lower_bounds_).all()
        assert not np.isnan(model.probabilities_).any()
        expected = (20 * value + alpha) / (20 + 2 * alpha)
        if alpha == 0:
            np.testing.assert_allclose(model.probabilities_, expected, atol=1e-12)
        np.testing.assert_array_equal(model.predict(X), model.predict(X)[0])


def test_as_many_components_as_rows():
    X = np.eye(6)
    model = fit(X, 6, random_state=0, max_iter=200)
    assert model.lower_bound_ > np.log(1 / 6) - 0.3
    assert fit(X[:, :1], 6, random_state=0).probabilities_.shape == (6, 1)


# EM never lowers its objective.


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_monotone(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_rows, n_features = data.draw(st.integers(2, 60)), data.draw(st.integers(1, 20))
    n_components = data.draw(st.integers(1, min(n_rows, 10)))
    X = rng.random((n_rows, n_features)) < rng.random(n_features)
    if data.draw(st.booleans()):
        X = np.vstack([X, X[rng.integers(n_rows, size=n_rows)]])  # duplicates
    w = rng.choice([0.0, 0.5, 1.0, 3.0], size=len(X)) if data.draw(st.booleans()) else None
    if w is not None and not w.any():
        w = None
    alpha = data.draw(st.sampled_from([0.0, 0.1, 2.0]))
    fixed = data.draw(st.sampled_from([(), ("weights",), ("probabilities",)]))
    assignment = data.draw(st.sampled_from(["soft", "hard"]))
    if data.draw(st.booleans()):
        X = sp.csr_array(X.astype(float))
    model = fit(
        X,
        n_components,
        alpha=alpha,
        fixed=fixed,
        assignment=assignment,
        tol=0,
        max_iter=25,
        random_state=0,
        sample_weight=w,
    )
    assert np.isfinite(model.lower_bounds_).all()
    scale = max(1.0, np.abs(model.lower_bounds_).max())
    assert (np.diff(model.lower_bounds_) >= -1e-12 * scale).all()
    assert ((model.probabilities_ >= 0) & (model.probabilities_ <= 1)).all()
    assert model.weights_.sum() == pytest.approx(1.0)


# Probabilities of exactly 0 and 1.


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_zero_and_one_stay_without_nan(container):
    X = np.array([[1, 0, 1, 0], [1, 0, 1, 1], [0, 1, 1, 0], [0, 1, 1, 1]] * 5)
    init = [[1.0, 0.0, 1.0, 0.4], [0.0, 1.0, 1.0, 0.6]]
    model = fit(container(X), 2, probabilities_init=init, max_iter=5, tol=0)
    np.testing.assert_array_equal(model.probabilities_[:, :3], np.array(init)[:, :3])
    np.testing.assert_allclose(model.probabilities_[:, 3], 0.5)
    assert model.lower_bound_ == pytest.approx(np.log(0.25))
    new = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 0, 0, 1]])
    with pytest.warns(RuntimeWarning, match="2 rows are impossible under every") as record:
        log_density = model.score_samples(container(new))
    assert record[0].filename == __file__
    np.testing.assert_allclose(log_density, [-np.inf, np.log(0.25), -np.inf])
    with pytest.warns(RuntimeWarning, match="impossible"):
        np.testing.assert_array_equal(model.predict_proba(container(new)), [[0, 0], [1, 0], [0, 0]])
    with pytest.warns(RuntimeWarning, match="impossible"):
        np.testing.assert_array_equal(model.predict(container(new)), [0, 0, 0])
    with pytest.warns(RuntimeWarning, match="impossible"):
        assert model.score(container(new)) == -np.inf
    q = np.full((3, 2), 0.5)
    with pytest.warns(RuntimeWarning, match="impossible"):
        assert model.elbo(container(new), q) == -np.inf
        assert model.elbo(container(new)) == -np.inf
        assert model.expected_complete_log_likelihood(container(new)) == -np.inf
        assert model.posterior_kl(container(new), np.eye(2)[[0, 0, 1]]) == pytest.approx(0)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_impossible_rows_in_a_fit(container):
    X = container(np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 3))
    options = {"probabilities_init": [[1.0, 0.2], [0.5, 1.0]], "random_state": 0}
    with pytest.raises(ValueError, match="some row is impossible under every component"):
        BernoulliMixture(2, **options).fit(X)
    with pytest.raises(ValueError, match="some row is impossible under every component"):
        BernoulliMixture(2, **options, alpha=1.0, fixed=("probabilities",)).fit(X)
    smooth = fit(X, 2, **options, alpha=0.5)
    assert smooth.lower_bounds_[0] == -np.inf
    assert np.isfinite(smooth.lower_bounds_[1:]).all()
    # Rows without weight may be impossible.
    w = np.tile([1.0, 1.0, 1.0, 0.0], 3)
    assert np.isfinite(fit(X, 2, **options, sample_weight=w).lower_bounds_).all()


# Scores.


def test_scores(X, start):
    model = fit(X, 3, random_state=0)
    new = X[::3]
    log_density, responsibilities = bernoulli_e_step(new, model.weights_, model.probabilities_)
    log_joint = np.log(model.weights_) + bernoulli_log_density(new, model.probabilities_)
    total = log_density.sum()
    n_parameters = 3 * 13 + 2
    np.testing.assert_allclose(model.score_samples(new), log_density, rtol=1e-11)
    np.testing.assert_allclose(model.predict_proba(new), responsibilities, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(new), log_joint.argmax(axis=1))
    assert model.score(new) == pytest.approx(total / len(new), rel=1e-12)
    assert model.aic(new) == pytest.approx(-2 * total + 2 * n_parameters, rel=1e-12)
    penalty = n_parameters * np.log(len(new))
    assert model.bic(new) == pytest.approx(-2 * total + penalty, rel=1e-12)
    best = log_joint.max(axis=1).sum()
    assert model.icl(new) == pytest.approx(-2 * best + penalty, rel=1e-12)
    held = fit(X, 3, random_state=0, fixed=("probabilities",))
    held_total = held.score_samples(new).sum()
    assert held.aic(new) == pytest.approx(-2 * held_total + 2 * 2, rel=1e-12)


def test_bound_and_gap(X):
    model = fit(X, 3, random_state=0, alpha=1.0)
    q = np.random.default_rng(0).dirichlet(np.ones(3), size=len(X))
    q[:50] = np.eye(3)[np.arange(50) % 3]
    log_joint = np.log(model.weights_) + bernoulli_log_density(X, model.probabilities_)
    log_density, responsibilities = bernoulli_e_step(X, model.weights_, model.probabilities_)
    entropy = -(q * np.log(np.where(q > 0, q, 1))).sum()
    assert model.elbo(X, q) == pytest.approx((q * log_joint).sum() + entropy, rel=1e-11)
    gap = log_density.sum() - model.elbo(X, q)
    assert model.posterior_kl(X, q) == pytest.approx(gap, rel=1e-10)
    assert model.elbo(X) == pytest.approx(log_density.sum(), rel=1e-12)
    assert model.posterior_kl(X, model.predict_proba(X)) == pytest.approx(0, abs=1e-9)
    labels = np.arange(len(X)) % 3
    expected = log_joint[np.arange(len(X)), labels].sum()
    assert model.complete_log_likelihood(X, labels) == pytest.approx(expected, rel=1e-11)
    for given_q, used in ((q, q), (None, responsibilities)):
        found = model.expected_complete_log_likelihood(sp.csr_array(X), given_q)
        assert found == pytest.approx((used * log_joint).sum(), rel=1e-11)


def test_sample(X):
    model = fit(X, 3, random_state=0)
    drawn, y = model.sample(30_000)
    assert drawn.shape == (30_000, 13)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(np.bincount(y) / 30_000, model.weights_, atol=0.02)
    means = [drawn[y == j].mean(axis=0) for j in range(3)]
    np.testing.assert_allclose(means, model.probabilities_, atol=0.03)
    again = fit(drawn, 3, random_state=0)
    assert again.score(drawn) == pytest.approx(model.score(drawn), abs=0.01)
    sure = fit(X, 1, probabilities_init=np.tile([0.0, 1.0], 7)[np.newaxis, :13], max_iter=0)
    np.testing.assert_array_equal(sure.sample(50)[0], np.tile(sure.probabilities_, (50, 1)))


# scikit-learn's ways.


def test_defaults():
    assert BernoulliMixture().get_params() == {
        "n_components": 1,
        "tol": 1e-3,
        "max_iter": 100,
        "n_init": 1,
        "weights_init": None,
        "probabilities_init": None,
        "fixed": (),
        "assignment": "soft",
        "alpha": 0.0,
        "binarize": 0.0,
        "random_state": None,
        "warm_start": False,
        "verbose": 0,
        "verbose_interval": 10,
        "accelerate": None,
        "search": None,
        "missing": "error",
    }


def test_attributes_types_and_names(X):
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(13)])
    model = fit(frame, 3, random_state=0)
    assert model.n_features_in_ == 13
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.predict(frame).dtype == np.int64
    assert type(model.lower_bound_) is float
    assert type(model.converged_) is bool
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X)


def test_pickle_and_clone(X):
    model = fit(X, 3, random_state=0)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "weights_")


def test_grid_search(X):
    search = GridSearchCV(BernoulliMixture(random_state=0), {"n_components": [1, 3]}, cv=3).fit(X)
    assert search.best_params_ == {"n_components": 3}


def test_convergence_and_its_warning(X, start):
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model = BernoulliMixture(3, **start, max_iter=2).fit(X)
    assert not model.converged_
    model = BernoulliMixture(3, **start, max_iter=500).fit(X)
    assert model.converged_
    changes = np.abs(np.diff(model.lower_bounds_))
    assert changes[-1] < model.tol
    assert (changes[:-1] >= model.tol).all()


def test_warm_start_goes_on(X, start):
    whole = fit(X, 3, **start, max_iter=8, tol=0)
    model = BernoulliMixture(3, **start, max_iter=4, tol=0, warm_start=True)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            model.fit(X)
    np.testing.assert_array_equal(model.probabilities_, whole.probabilities_)
    np.testing.assert_array_equal(model.weights_, whole.weights_)
    with pytest.raises(ValueError, match="'probabilities' should have the shape of"):
        model.fit(X[:, :5])
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))


def test_verbose(X, capsys):
    model = BernoulliMixture(3, random_state=0, verbose=1, verbose_interval=2).fit(X)
    shown = capsys.readouterr().out.splitlines()
    expected = [f"  Iteration {i}" for i in range(2, model.n_iter_ + 1, 2)]
    assert shown == ["Initialization 0", *expected, "Initialization converged."]


class Recorder:
    """A callback that notes the tasks and the estimators as if the fit had ended there."""

    def __init__(self):
        self.tasks, self.fitted = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "iteration":
            self.fitted.append(fitted_estimator)


def test_callbacks(X):
    recorder = Recorder()
    model = BernoulliMixture(3, random_state=0).set_callbacks(recorder).fit(X)
    assert recorder.tasks.count("iteration") == model.n_iter_
    np.testing.assert_array_equal(recorder.fitted[-1].predict(X), model.predict(X))
    scores = [fitted.score(X) for fitted in recorder.fitted]
    np.testing.assert_allclose(scores[:-1], model.lower_bounds_[1:], rtol=1e-11)


# Bad input.

BAD_PARAMETERS = {
    "'alpha' parameter": {"alpha": -0.1},
    "'alpha' parameter of": {"alpha": np.inf},
    "'binarize' parameter": {"binarize": -1.0},
    "'fixed' parameter": {"fixed": ("means",)},
    "'assignment' parameter": {"assignment": "firm"},
    "'n_components' parameter": {"n_components": 0},
    "'weights' should have the shape of": {"weights_init": [1.0]},
    "'weights' should be normalized": {"weights_init": [0.5, 0.6]},
    "'weights' should be in the range": {"weights_init": [1.5, -0.5]},
    "'probabilities' should have the shape": {"probabilities_init": [[0.5, 0.5]]},
    "'probabilities' should be in the range": {"probabilities_init": np.full((2, 13), 1.1)},
    "'probabilities' should be in": {"probabilities_init": np.full((2, 13), -0.1)},
    "Input contains NaN": {"probabilities_init": np.full((2, 13), np.nan)},
    "n_samples >= n_components": {"n_components": 401},
}


@pytest.mark.parametrize("message", BAD_PARAMETERS)
def test_bad_parameters(message, X):
    model = BernoulliMixture(**{"n_components": 2, **BAD_PARAMETERS[message]})
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("other", [2, 0.5, -1, 255])
def test_other_numbers_than_zeros_and_ones(container, other, X):
    rows = X.astype(np.uint8 if other == 255 else float)
    rows[7, 3] = other
    rows = container(rows)
    with pytest.raises(ValueError, match="should hold only zeros and ones, but it holds"):
        BernoulliMixture(2, binarize=None).fit(rows)
    model = BernoulliMixture(2, binarize=None, random_state=0).fit(container(X * 1.0))
    with pytest.raises(ValueError, match="should hold only zeros and ones, but it holds"):
        model.predict(rows)


BAD_ROWS = {
    "Input X contains NaN": np.full((5, 13), np.nan),
    "Input X contains infinity": np.full((5, 13), np.inf),
    "Expected 2D array": np.ones(13),
    "Complex data not supported": np.ones((5, 13)) + 1j,
    r"minimum of 1 is required": np.ones((5, 0)),
}


@pytest.mark.parametrize("message", BAD_ROWS)
def test_bad_rows(message, X):
    model = fit(X, 2, random_state=0)
    with pytest.raises(ValueError, match=message):
        BernoulliMixture(2).fit(BAD_ROWS[message])
    with pytest.raises(ValueError, match=message):
        model.score_samples(BAD_ROWS[message])


def test_rows_of_another_width(X):
    model = fit(X, 2, random_state=0)
    with pytest.raises(ValueError, match="X has 12 features, but BernoulliMixture is expecting 13"):
        model.predict(X[:, 1:])


@pytest.mark.parametrize("bad", [np.full(400, -1.0), np.full(400, np.nan), np.ones(3)])
def test_bad_sample_weight(bad, X):
    with pytest.raises(ValueError):
        BernoulliMixture(2).fit(X, sample_weight=bad)


# Real data.


def test_digits():
    digits = load_digits()
    X = digits.data > 7
    model = BernoulliMixture(10, n_init=5, random_state=0).fit(X)
    assert adjusted_rand_score(digits.target, model.predict(X)) > 0.5


@pytest.mark.parametrize(
    ("attribute", "place", "value"),
    [("indices", 2, 1_000_000), ("indices", 2, -5), ("indptr", -1, 50), ("indptr", 2, 0)],
)
def test_malformed_csr_is_refused(attribute, place, value):
    fitted = BernoulliMixture(2, random_state=0).fit(np.eye(5))
    X = sp.csr_matrix(np.eye(5))
    changed = getattr(X, attribute).copy()
    changed[place] = value
    setattr(X, attribute, changed)
    for method in (BernoulliMixture(2, random_state=0).fit, fitted.predict):
        with pytest.raises(ValueError, match="malformed"):
            method(X)


def test_wide_indices_and_entries_that_cancel():
    X = sp.csr_matrix(
        (np.array([1.0, -1.0, 1.0]), np.array([0, 0, 1], np.int64), np.array([0, 2, 3], np.int64)),
        shape=(2, 2),
    )  # the rows are (0, 0) and (0, 1)
    mixture = BernoulliMixture(1, random_state=0).fit(X)
    np.testing.assert_array_equal(mixture.probabilities_, [[0.0, 0.5]])
    np.testing.assert_array_equal(X.data, [1.0, -1.0, 1.0])
