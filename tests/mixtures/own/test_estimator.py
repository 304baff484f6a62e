import importlib.util
import math
import pickle
import warnings
from pathlib import Path

import joblib
import numba
import numpy as np
import pytest
from numba import cloudpickle, njit
from reference import poisson_em, poisson_log_joint
from scipy.special import gammaln, logsumexp
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import check_estimator
from watchers import Watching

from fastem import GaussianMixture, em
from fastem.kernels.own import Functions, OwnComponents, OwnPass
from fastem.kernels.own.functions import compile_body

EXAMPLE = Path(__file__).parents[3] / "examples" / "poisson_mixture.py"
specification = importlib.util.spec_from_file_location("poisson_example", EXAMPLE)
example = importlib.util.module_from_spec(specification)
specification.loader.exec_module(example)


class PoissonMixture(example.PoissonMixture):
    """The example's, that can be pickled by its name."""

    def sample_component(self, component, size, random_state):
        rates = self.parameters_[component]
        return random_state.poisson(rates, size=(size, len(rates))).astype(float)


@pytest.fixture(scope="module")
def X():
    """Rows of counts of three overlapping groups."""
    rng = np.random.default_rng(0)
    rates = 1 + rng.gamma(2.0, 2.0, size=(3, 7))
    return rng.poisson(rates[rng.integers(3, size=700)]).astype(float)


@pytest.fixture(scope="module")
def start():
    rng = np.random.default_rng(1)
    return {
        "weights_init": rng.dirichlet(np.ones(3)),
        "parameters_init": rng.gamma(4.0, 1.0, size=(3, 7)),
    }


def quiet(model, X, sample_weight=None):
    """A fit that needn't converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, sample_weight=sample_weight)


def test_the_example_has_less_than_forty_lines():
    assert len(EXAMPLE.read_text().splitlines()) < 40


# The same as the textbook's EM.


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
@pytest.mark.parametrize("weighted", [False, True])
def test_plain_em(weighted, assignment, dtype, X, start):
    w = np.random.default_rng(2).integers(0, 4, size=len(X)) / 2 if weighted else None
    model = PoissonMixture(3, **start, max_iter=8, tol=0, assignment=assignment)
    quiet(model, X.astype(dtype), w)
    weights, rates, history = poisson_em(X, *start.values(), model.n_iter_, w, assignment == "hard")
    np.testing.assert_allclose(model.weights_, weights, rtol=1e-10)
    np.testing.assert_allclose(model.parameters_, rates, rtol=1e-10)
    np.testing.assert_allclose(model.lower_bounds_, history, rtol=1e-12)
    assert model.lower_bound_ == model.lower_bounds_[-1]
    assert (np.diff(history) > -1e-12).all()


def test_prediction(X, start):
    model = quiet(PoissonMixture(3, **start, max_iter=3), X)
    log_joint = poisson_log_joint(X, model.weights_, model.parameters_)
    log_density = logsumexp(log_joint, axis=1)
    np.testing.assert_allclose(model.score_samples(X), log_density, rtol=1e-12)
    np.testing.assert_allclose(model.score(X), log_density.mean(), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), log_joint.argmax(axis=1))
    responsibilities = np.exp(log_joint - log_density[:, np.newaxis])
    np.testing.assert_allclose(model.predict_proba(X), responsibilities, atol=1e-12)
    # 2 weights and 21 rates are free.
    expected = -2 * log_density.sum() + 23 * np.log(len(X))
    np.testing.assert_allclose(model.bic(X), expected, rtol=1e-12)
    q = np.random.default_rng(0).dirichlet(np.ones(3), size=len(X))
    total = model.elbo(X, q) + model.posterior_kl(X, q)
    np.testing.assert_allclose(total, log_density.sum(), rtol=1e-12)
    np.testing.assert_allclose(
        model.complete_log_likelihood(X, np.zeros(len(X), int)), log_joint[:, 0].sum(), rtol=1e-12
    )


def test_sampling(X, start):
    model = quiet(PoissonMixture(3, **start, random_state=0), X)
    rows, y = model.sample(20_000)
    means = [rows[y == j].mean(axis=0) for j in range(3)]
    np.testing.assert_allclose(means, model.parameters_, rtol=0.1)

    class Silent(PoissonMixture):
        sample_component = em.Mixture.sample_component

    with pytest.raises(NotImplementedError, match="Silent has no sample_component"):
        quiet(Silent(3, **start), X).sample()


def test_integer_weights_are_repetitions(X, start):
    repetitions = np.random.default_rng(3).integers(0, 3, size=len(X))
    options = dict(start, max_iter=6, tol=0)
    weighted = quiet(PoissonMixture(3, **options), X, repetitions)
    repeated = quiet(PoissonMixture(3, **options), np.repeat(X, repetitions, axis=0))
    np.testing.assert_allclose(weighted.parameters_, repeated.parameters_, rtol=1e-11)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-12)


@pytest.mark.parametrize("fixed", ["weights", "parameters"])
def test_fixed(fixed, X, start):
    model = quiet(PoissonMixture(3, **start, fixed=(fixed,), max_iter=3), X)
    same = {"weights": model.weights_, "parameters": model.parameters_}
    other = ({"weights", "parameters"} - {fixed}).pop()
    np.testing.assert_array_equal(same[fixed], start[f"{fixed}_init"])
    assert (same[other] != start[f"{other}_init"]).all()


def test_warm_start_goes_on(X, start):
    once = quiet(PoissonMixture(3, **start, tol=0, max_iter=8), X)
    twice = quiet(PoissonMixture(3, **start, tol=0, max_iter=4, warm_start=True), X)
    quiet(twice, X)
    np.testing.assert_allclose(twice.parameters_, once.parameters_, rtol=1e-12)
    with pytest.raises(ValueError, match="'weights' should have the shape of"):
        twice.set_params(n_components=2, weights_init=None, parameters_init=None).fit(X)


# What the loop gives.


@pytest.mark.parametrize("init_params", ["kmeans", "random_from_data"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_best_start_is_kept(weighted, init_params, X):
    w = np.random.default_rng(2).uniform(size=len(X)) if weighted else None
    options = {"init_params": init_params, "max_iter": 3, "tol": 0}
    best = quiet(PoissonMixture(5, n_init=4, random_state=7, **options), X, w)
    shared = np.random.RandomState(7)
    runs = [quiet(PoissonMixture(5, random_state=shared, **options), X, w) for _ in range(4)]
    bounds = [run.lower_bound_ for run in runs]
    assert len(set(bounds)) > 1
    assert best.lower_bound_ == max(bounds)
    np.testing.assert_array_equal(best.parameters_, runs[np.argmax(bounds)].parameters_)


def test_a_start_of_ones_own(X):
    class Started(PoissonMixture):
        def start(self, rows, random_state):
            return rows.take(random_state.choice(rows.n_rows, self.n_components)) + 0.5

    model = quiet(Started(3, random_state=0, max_iter=4, tol=0), X)
    rates = X[np.random.RandomState(0).choice(len(X), 3)] + 0.5
    expected = poisson_em(X, np.full(3, 1 / 3), rates, 4)
    np.testing.assert_allclose(model.parameters_, expected[1], rtol=1e-10)


class Recorder(Watching):
    def __init__(self):
        self.tasks, self.scores = [], []

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.tasks.append(context.task_name)
        if context.task_name == "iteration":
            self.scores.append(fitted_estimator.score(X))


def test_callbacks(X, start):
    recorder = Recorder()
    model = PoissonMixture(3, **start, n_init=2, max_iter=4, tol=0).set_callbacks(recorder)
    quiet(model, X)
    assert recorder.tasks == (["iteration"] * 4 + ["run"]) * 2 + ["fit"]
    np.testing.assert_allclose(recorder.scores[:3], model.lower_bounds_[1:], rtol=1e-12)


def test_verbose_and_convergence(X, start, capsys):
    model = PoissonMixture(3, **start, verbose=2, verbose_interval=1, max_iter=2, tol=0)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X)
    assert not model.converged_
    shown = capsys.readouterr().out
    assert "Iteration 2\t time lapse" in shown
    assert "did not converge" in shown
    assert PoissonMixture(3, **start, tol=1e-2).fit(X).converged_


def test_any_number_of_threads_gives_the_same(start):
    X = np.random.default_rng(4).poisson(3.0, size=(40_000, 7)).astype(float)
    results = []
    n_threads = numba.get_num_threads()
    try:
        for n in {1, n_threads}:
            numba.set_num_threads(n)
            results.append(quiet(PoissonMixture(3, **start, max_iter=3), X))
    finally:
        numba.set_num_threads(n_threads)
    for model in results:
        np.testing.assert_array_equal(model.parameters_, results[0].parameters_)
        assert model.lower_bounds_ == results[0].lower_bounds_


def test_memory_mapped_rows(X, start, tmp_path):
    mapped = np.memmap(tmp_path / "rows", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    mapped.flush()
    mapped = np.memmap(tmp_path / "rows", X.dtype, "r", shape=X.shape)
    fits = [quiet(PoissonMixture(3, **start, max_iter=3), rows) for rows in (X, mapped)]
    np.testing.assert_array_equal(fits[0].parameters_, fits[1].parameters_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_clones_pickles_and_joblib(X, start):
    model = quiet(PoissonMixture(3, **start, max_iter=2), X)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    copy = clone(model)
    with pytest.raises(NotFittedError):
        copy.predict(X)

    class Local(PoissonMixture):
        """As if of __main__: processes of joblib get it by value."""

    local = quiet(Local(3, **start, max_iter=2), X)
    loaded = cloudpickle.loads(cloudpickle.dumps(local))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    fits = joblib.Parallel(2, prefer="threads")(joblib.delayed(quiet)(copy, X) for _ in range(3))
    np.testing.assert_array_equal(fits[2].parameters_, model.parameters_)


# Other models.


class LaplaceMixture(em.Mixture):
    """Known scale; the density decides by ``if``, so that it runs for one row after the other."""

    @njit
    def log_density(x, center):
        value = 0.0
        for f in range(len(x)):
            if x[f] > center[f]:
                value -= x[f] - center[f]
            else:
                value -= center[f] - x[f]
        return value - len(x) * math.log(2.0)

    def m_step(self, counts, sums):
        return sums / counts[:, np.newaxis]


class SmoothLaplaceMixture(LaplaceMixture):
    @njit
    def log_density(x, center):
        value = 0.0
        for f in range(len(x)):
            value -= abs(x[f] - center[f])
        return value - len(x) * math.log(2.0)


@pytest.mark.parametrize("kind", [LaplaceMixture, SmoothLaplaceMixture])
def test_scikit_learns_estimator_checks(kind):
    results = check_estimator(kind(2), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_a_density_with_branches_is_compiled_row_by_row(X):
    by_row = compile_body("log_density", LaplaceMixture.log_density, (1,))
    at_once = compile_body("log_density", SmoothLaplaceMixture.log_density, (1,))
    assert (by_row.many, at_once.many) == (False, True)
    models = [
        quiet(kind(3, parameters_init=X[:3], max_iter=3, tol=0), X)
        for kind in (LaplaceMixture, SmoothLaplaceMixture)
    ]
    np.testing.assert_allclose(models[0].parameters_, models[1].parameters_, rtol=1e-12)
    np.testing.assert_allclose(models[0].score_samples(X), models[1].score_samples(X), rtol=1e-12)


class FullGaussianMixture(em.Mixture):
    """Not separable: a matrix for each component, and products of features as statistics."""

    @njit
    def log_density(x, mean, factor, constant):
        value = constant
        for i in range(len(x)):
            z = 0.0
            for f in range(i, len(x)):
                z += (x[f] - mean[f]) * factor[i, f]
            value -= 0.5 * z * z
        return value

    @njit
    def statistics(x, out):
        d = len(x)
        for f in range(d):
            out[f] = x[f]
            for g in range(d):
                out[d + f * d + g] = x[f] * x[g]

    def n_statistics(self, n_features):
        return n_features + n_features**2

    def arguments(self, parameters):
        means, covariances = parameters
        factors = np.linalg.cholesky(np.linalg.inv(covariances)).swapaxes(1, 2)
        log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        return means, factors, log_det - 0.5 * means.shape[1] * math.log(2 * math.pi)

    def m_step(self, counts, sums):
        d = self.n_features_in_
        means = sums[:, :d] / counts[:, np.newaxis]
        second = (sums[:, d:] / counts[:, np.newaxis]).reshape(-1, d, d)
        return means, second - means[:, :, np.newaxis] * means[:, np.newaxis]


def test_a_gaussian_mixture_is_the_built_in_one():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + rng.integers(3, size=(500, 1)) * 2
    labels = rng.integers(3, size=500)
    means = np.array([X[labels == j].mean(axis=0) for j in range(3)])
    covariances = np.array([np.cov(X[labels == j].T) for j in range(3)])
    weights = np.full(3, 1 / 3)
    mine = FullGaussianMixture(
        3, weights_init=weights, parameters_init=(means, covariances), max_iter=10, tol=0
    )
    quiet(mine, X)
    built_in = GaussianMixture(
        3,
        weights_init=weights,
        means_init=means,
        precisions_init=np.linalg.inv(covariances),
        reg_covar=0,
        max_iter=10,
        tol=0,
    )
    quiet(built_in, X)
    np.testing.assert_allclose(mine.lower_bounds_, built_in.lower_bounds_, rtol=1e-10)
    np.testing.assert_allclose(mine.parameters_[1], built_in.covariances_, rtol=1e-8)
    density = [multivariate_normal(m, c).logpdf(X) for m, c in zip(*mine.parameters_, strict=True)]
    expected = logsumexp(np.log(mine.weights_)[:, np.newaxis] + density, axis=0)
    np.testing.assert_allclose(mine.score_samples(X), expected, rtol=1e-10)


class StudentMixture(em.Mixture):
    """Student's t with 3 degrees of freedom, multiples of the identity as scales."""

    @njit
    def log_density(x, mean, precision, constant):
        square = 0.0
        for f in range(len(x)):
            square += (x[f] - mean[f]) ** 2
        return constant - 0.5 * (3.0 + len(x)) * math.log1p(square * precision / 3.0)

    @njit
    def statistics(x, out, mean, precision, constant):
        square = 0.0
        for f in range(len(x)):
            square += (x[f] - mean[f]) ** 2
        weight = (3.0 + len(x)) / (3.0 + square * precision)
        out[len(x)] = weight
        for f in range(len(x)):
            out[f] = weight * x[f]
            out[len(x) + 1] += weight * x[f] ** 2

    def n_statistics(self, n_features):
        return n_features + 2

    def start(self, rows, random_state):
        return rows.take(np.arange(self.n_components)), np.ones(self.n_components)

    def arguments(self, parameters):
        means, scales = parameters
        d = means.shape[1]
        constant = math.lgamma((3 + d) / 2) - math.lgamma(1.5) - 0.5 * d * math.log(3 * math.pi)
        return means, 1 / scales, constant - 0.5 * d * np.log(scales)

    def m_step(self, counts, sums):
        d = sums.shape[1] - 2
        means = sums[:, :d] / sums[:, d, np.newaxis]
        squares = sums[:, d + 1] - sums[:, d] * (means**2).sum(axis=1)
        return means, squares / (d * counts)


def test_statistics_that_depend_on_the_component():
    rng = np.random.default_rng(6)
    groups = [
        multivariate_t([at, at], scale * np.eye(2), df=3, seed=rng).rvs(4000)
        for at, scale in [(0, 1), (30, 9)]
    ]
    X = np.vstack([groups[0][:1], groups[1], groups[0][1:]])
    model = StudentMixture(2, tol=1e-10, max_iter=500).fit(X)
    means, scales = model.parameters_
    np.testing.assert_allclose(means, [[0, 0], [30, 30]], atol=0.4)
    np.testing.assert_allclose(scales, [1, 9], rtol=0.15)
    assert (np.diff(model.lower_bounds_) > -1e-12).all()
    density = [
        multivariate_t(m, s * np.eye(2), df=3).logpdf(X) for m, s in zip(means, scales, strict=True)
    ]
    expected = logsumexp(np.log(model.weights_)[:, np.newaxis] + density, axis=0)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-11)


def everything(x, a):
    """All that a density may do with rows in lanes."""
    total = np.where(x[0] > a, x[0], -x[1] / a) + max(x[0], x[1]) - min(x[0], a)
    for v in x:
        total += v**2 + v**3 * a - (1.5 + abs(v)) ** 1.5 + 2.0**v
        total += math.exp(v) - math.log(3 + v) + math.sqrt(v + 2) + math.lgamma(v + 2)
        total -= math.sin(v) * math.cos(v) + math.tanh(v) * math.erf(v) - math.atan2(v, a)
        total += np.exp(-v) * np.log1p(v**2) + np.maximum(v, a) / np.minimum(v, -a)
        total *= 0.9
    total -= x[1:][0] * len(x) + x.shape[0]
    return total


def test_what_can_be_done_with_many_rows():
    assert compile_body("log_density", everything, (0,)).many
    X = np.random.default_rng(7).uniform(-1, 1, size=(200, 3))
    log_joint = np.empty((200, 1))
    rows = OwnPass(X, None, 1, Functions(everything), 3)
    rows.evaluate(OwnComponents(np.zeros(1), (np.array([0.3]),)), log_joint=log_joint)
    np.testing.assert_allclose(log_joint[:, 0], [everything(x, 0.3) for x in X], rtol=1e-12)


def evaluated(function, values):
    """A function of one number for each of many rows."""
    assert compile_body("log_density", function).many
    log_joint = np.empty((len(values), 1))
    rows = OwnPass(values[:, np.newaxis], None, 1, Functions(function), 1)
    rows.evaluate(OwnComponents(np.zeros(1), ()), log_joint=log_joint)
    return log_joint[:, 0]


def test_log1p_of_many_rows():
    rng = np.random.default_rng(9)
    powers = 10 ** rng.uniform(-300, 300, 300)
    values = np.concatenate([powers, -powers[powers < 1], rng.uniform(-1, 1, 300)])
    values = np.append(values, [0.0, -1.0, np.inf, np.nan, -2.0])
    with np.errstate(all="ignore"):
        expected = np.log1p(values)
    for density in (lambda x: math.log1p(x[0]), lambda x: np.log1p(x[0])):
        np.testing.assert_allclose(evaluated(density, values), expected, rtol=1e-15)


def test_lgamma_of_many_rows():
    rng = np.random.default_rng(8)
    for values in (
        np.concatenate([np.arange(1.0, 200.0), 10 ** rng.uniform(-300, 300, 300), [np.inf]]),
        np.concatenate([rng.uniform(-10, 10, 200), [0.0, -3.0, np.nan]]),
        rng.uniform(0.5, 12.0, 500),
    ):
        result = evaluated(lambda x: math.lgamma(x[0]), values)
        np.testing.assert_allclose(result, gammaln(values), rtol=1e-13, atol=4e-15)


def test_a_function_defined_anew_is_compiled_anew(X):
    scores = []
    for scale in (1.0, 2.0):

        class Mixture(em.Mixture):
            @staticmethod
            def log_density(x, center, scale=scale):
                return -scale * abs(x[0] - center[0])

            def m_step(self, counts, sums):
                return sums / counts[:, np.newaxis]

        model = quiet(Mixture(1, parameters_init=X[:1], fixed=("parameters",)), X)
        scores.append(model.score(X))
    assert scores[1] == pytest.approx(2 * scores[0])


# Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: np.where(X == X.max(), np.nan, X), "Input X contains NaN"),
        (lambda X: X[0], "Expected 2D array, got 1D array"),
        (lambda X: X[:2], "Expected n_samples >= n_components"),
        (lambda X: X.astype(complex), "Complex data not supported"),
    ],
)
def test_bad_rows(change, message, X):
    with pytest.raises(ValueError, match=message):
        PoissonMixture(3).fit(change(X))


def test_bad_weights_and_parameters(X, start):
    with pytest.raises(ValueError, match="Negative values in data"):
        PoissonMixture(3).fit(X, sample_weight=-np.ones(len(X)))
    for name, value, message in [
        ("weights_init", [0.5, 0.5, 0.5], "should be normalized"),
        ("weights_init", [0.5, 0.5], "should have the shape of"),
        ("parameters_init", np.ones((2, 7)), "with n_components = 3 rows each"),
        ("parameters_init", "many", "parameters_init"),
        ("fixed", ("rates",), "must be a collection of names"),
        ("init_params", "guess", "init_params"),
    ]:
        with pytest.raises(ValueError, match=message):
            PoissonMixture(3, **{**start, name: value}).fit(X)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_a_log_density_that_is_no_number_is_named(assignment, X, start):
    rates = start["parameters_init"].copy()
    rates[1, 2] = np.nan
    model = PoissonMixture(3, parameters_init=rates, assignment=assignment)
    with pytest.raises(ValueError, match="the log-density of row 0 under component 1 is nan"):
        model.fit(X)
    rates[1, 2] = np.inf
    with pytest.raises(ValueError, match="the log-density of row 0 under component 1"):
        model.fit(X)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_an_impossible_row(assignment, X):
    class Bounded(em.Mixture):
        @njit
        def log_density(x, edge):
            return np.where(x[0] <= edge, 0.0, -np.inf)

        def m_step(self, counts, sums):
            return sums[:, 0] / counts

    edges = np.array([5.0, X[:, 0].max()])
    model = Bounded(2, parameters_init=edges, fixed=("parameters",), assignment=assignment).fit(X)
    beyond = X.copy()
    beyond[123, 0] = 1e6
    with pytest.raises(ValueError, match="row 123 is impossible under every component"):
        clone(model).fit(beyond)
    weights = np.ones(len(X))
    weights[123] = 0
    again = clone(model).fit(beyond, sample_weight=weights)
    assert np.isfinite(again.lower_bound_)
    with pytest.warns(RuntimeWarning, match="1 rows are impossible"):
        assert model.score_samples(beyond)[123] == -np.inf


def test_an_empty_component_stays(X, start):
    rates = start["parameters_init"].copy()
    rates[2] = 1e200
    model = quiet(PoissonMixture(3, parameters_init=rates, max_iter=3), X)
    np.testing.assert_array_equal(model.parameters_[2], rates[2])
    assert model.weights_[2] == 0
    assert np.isfinite(model.lower_bound_)


def test_wrong_shapes(X):
    class Shaped(PoissonMixture):
        def m_step(self, counts, sums):
            return self.wrong(sums / counts[:, np.newaxis] + 0.1)

        def arguments(self, rates):
            return self.prepared(super().arguments(rates))

        def wrong(self, rates):
            return rates

        def prepared(self, arguments):
            return arguments

    for name, function, message in [
        ("wrong", lambda rates: rates.T, "'m_step' returns should be an array"),
        ("wrong", lambda rates: 1.0, "'m_step' returns should be an array"),
        ("wrong", lambda rates: "rates", "'m_step' returns should be an array"),
        ("prepared", lambda arrays: arrays[1].sum(), "'arguments' returns should be an array"),
        ("prepared", lambda arrays: np.ones((3, 2, 2, 2)), "at most 3 axes"),
    ]:
        model = Shaped(3)
        setattr(model, name, function)
        with pytest.raises(ValueError, match=message):
            model.fit(X)
    model = Shaped(3)
    model.prepared = lambda arrays: arrays[:1]
    with pytest.raises(TypeError, match=r"called with x and 1 further argument.*x, log_rates, tot"):
        model.fit(X)
    with pytest.raises(ValueError, match="should have the shapes"):
        Shaped(3, parameters_init=np.ones((3, 8))).fit(X)


def test_incomplete_models(X):
    class Empty(em.Mixture):
        pass

    class Odd(em.Mixture):
        @njit
        def log_density(x, center):
            return x.no_such_thing

        def m_step(self, counts, sums):
            return sums

    class Refusing(Odd):
        @njit
        def log_density(x, center):
            if x[0] > 3:
                raise ValueError("too many for me")
            return 0.0

    class Dependent(Odd):
        @njit
        def statistics(x, out, center):
            out[0] = x[0]

    class Shorter(FullGaussianMixture):
        n_statistics = em.Mixture.n_statistics

    class Further(Odd):
        @njit
        def log_density(x, center):
            return x[0] - center[len(x)]

    class Categorical(em.Mixture):
        @njit
        def log_density(x, log_probabilities):
            return log_probabilities[int(x[0])]

        def m_step(self, counts, sums):
            return self.parameters_init

    tables = np.log(np.full((2, 5), 0.2))
    categories = (X % 5)[:, :1]
    model = quiet(Categorical(2, parameters_init=tables), categories)
    np.testing.assert_allclose(model.score_samples(categories), math.log(0.2))
    categories[7] = 5
    with pytest.raises(IndexError, match="out of bounds"):
        Categorical(2, parameters_init=tables).fit(categories)
    with pytest.raises(IndexError, match=r"statistics, for arguments of shapes \(7,\), \(7,\)"):
        Shorter(2).fit(X)
    with pytest.raises(IndexError, match=r"log_density, for arguments of shapes \(7,\), \(7,\)"):
        Further(2, parameters_init=X[:2]).fit(X)
    with pytest.raises(NotImplementedError, match="Empty has no log_density"):
        Empty().fit(X)
    with pytest.raises(TypeError, match="log_density can't be compiled"):
        Odd().fit(X)
    with pytest.raises(ValueError, match="too many for me"):
        Refusing().fit(X)
    with pytest.raises(ValueError, match="Write 'start' or set parameters_init"):
        Dependent().fit(X)
    assert not hasattr(Empty(), "weights_")


def test_a_user_says_how_many_parameters_are_free():
    """Shares of a whole are one fewer than there are."""

    class Categories(example.PoissonMixture):
        def n_parameters(self, parameters):
            assert parameters is self.parameters_
            return 5

    X = np.arange(1.0, 9.0)[:, np.newaxis]
    counted, free = example.PoissonMixture(2).fit(X), Categories(2).fit(X)
    # By default two rates count, and the two weights as one.
    assert counted.aic(X) == pytest.approx(-2 * counted.score_samples(X).sum() + 2 * 3)
    assert free.aic(X) == pytest.approx(-2 * free.score_samples(X).sum() + 2 * 6)
    assert free.bic(X) == pytest.approx(-2 * free.score_samples(X).sum() + 6 * np.log(8))
    fixed = Categories(2, fixed=("parameters",), parameters_init=[[2.0], [5.0]]).fit(X)
    assert fixed.aic(X) == pytest.approx(-2 * fixed.score_samples(X).sum() + 2)


def test_an_m_step_sees_the_parameters_before():
    seen = []

    class Damped(em.Mixture):
        """Goes half the way."""

        def log_density(x, mean):
            return -0.5 * (x[0] - mean) ** 2

        def m_step(self, counts, sums, previous):
            seen.append(previous)
            means = sums[:, 0] / counts
            return means if previous is None else 0.5 * (means + previous)

    X = np.array([[0.0], [2.0]])
    # The second step ends it, by the tolerance. The mean is 1: from 5 to 3, to 2.
    Damped(1, parameters_init=[5.0], tol=99).fit(X)
    np.testing.assert_array_equal(seen, [[5.0], [3.0]])
    seen.clear()
    model = Damped(1).fit(X)
    assert seen[0] is None
    np.testing.assert_array_equal(model.parameters_, [1.0])
