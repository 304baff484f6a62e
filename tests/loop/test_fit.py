import warnings
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import v_measure_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import KMeans, em
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.model import KMeansModel
from fastem.clustering.labels import labels_of
from fastem.clustering.seeding import Given
from fastem.kernels.kmeans import choose
from fastem.rows import array_rows


class PoissonSums(NamedTuple):
    weights: np.ndarray
    sums: np.ndarray
    objective: float


def poisson_step(part, parameters):
    weights, rates = parameters
    x = part.X
    log_density = x * np.log(rates) - rates - gammaln(x + 1) + np.log(weights)
    log_likelihood = logsumexp(log_density, axis=1, keepdims=True)
    responsibilities = np.exp(log_density - log_likelihood)
    return PoissonSums(
        responsibilities.sum(axis=0), (responsibilities * x).sum(axis=0), log_likelihood.sum()
    )


class PoissonMixture(em.Model):
    """A user's own model of one column."""

    def __init__(self, n_components, tol=1e-8):
        self.n_components, self.tol = n_components, tol

    def start(self, rows, random_state):
        rates = rows.take(random_state.choice(rows.n_rows, self.n_components))[:, 0] + 0.5
        return np.full(self.n_components, 1 / self.n_components), rates

    def e_step(self, rows, parameters):
        return rows.reduce(poisson_step, parameters)

    def m_step(self, rows, statistics, parameters):
        return statistics.weights / rows.n_rows, statistics.sums / statistics.weights


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    return array_rows(rng.poisson(rng.choice([2.0, 15.0], size=500, p=[0.3, 0.7]))[:, None] * 1.0)


def test_a_users_own_model(counts):
    run = em.fit(
        PoissonMixture(2), counts, max_iter=500, random_state=np.random.RandomState(0), n_init=2
    )
    weights, rates = run.parameters
    order = np.argsort(rates)
    np.testing.assert_allclose(rates[order], [2, 15], rtol=0.1)
    np.testing.assert_allclose(weights[order], [0.3, 0.7], atol=0.05)
    assert run.converged
    assert run.n_iter == len(run.history) > 2
    assert (np.diff(run.history) > -1e-9).all()
    assert abs(run.history[-1] - run.history[-2]) < 1e-8


def test_the_best_of_several_runs_is_kept(counts):
    class Recorded(PoissonMixture):
        kept = 0

        def finish(self, rows, run):
            runs.append(run)

        def keep(self, rows):
            self.kept += 1

    runs = []
    model = Recorded(3, tol=1e-3)
    best = em.fit(model, counts, max_iter=20, random_state=np.random.RandomState(3), n_init=6)
    objectives = [run.objective for run in runs]
    assert len(set(objectives)) > 1
    assert best is runs[int(np.argmax(objectives))]
    assert model.kept == sum(np.maximum.accumulate(objectives) == objectives)


def test_a_fit_without_convergence_warns(counts):
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        run = em.fit(PoissonMixture(2), counts, max_iter=2, random_state=np.random.RandomState(0))
    assert not run.converged
    assert run.n_iter == 2


def test_verbose_reports(counts, capsys):
    em.fit(PoissonMixture(1), counts, max_iter=5, random_state=np.random.RandomState(0), verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization 0"
    assert lines[1].startswith("  Iteration 0, objective -")
    assert lines[-1] == "Initialization converged."


# The invariant, for K-means.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(20))
def test_em_never_raises_the_inertia(seed, dtype):
    """Neither an E-step nor an M-step does, also when empty clusters are relocated."""
    rng = np.random.default_rng(seed)
    n_rows, n_features, n_clusters = 300, int(rng.integers(1, 9)), int(rng.integers(1, 20))
    X = (rng.normal(size=(n_rows, n_features)) + rng.normal(size=n_features)).astype(dtype)
    sample_weight = rng.integers(0, 3, size=n_rows).astype(float) if seed % 2 else None
    values = []

    class Recorded(KMeansModel):
        def m_step(self, rows, statistics, parameters):
            updated = super().m_step(rows, statistics, parameters)
            values.append(self.objective(statistics, parameters))
            if statistics.weights.all():  # a relocation changes the assignment too
                values.append(self.objective(statistics, updated))
            return updated

    rows = array_rows(X, sample_weight)
    _, (frame, _, squares, _) = measure_spread(rows)
    algorithm = choose("auto", n_rows, n_features, n_clusters, X.dtype, False)
    init = (rng.normal(size=(n_clusters, n_features)) * rng.choice([1, 20])).astype(dtype)
    model = Recorded(Given(init), n_clusters, algorithm, frame, X.dtype, 0.0, squares)
    run = em.fit(model, rows, max_iter=100)
    margin = (1e-13 if dtype == np.float64 else 1e-11) * squares
    assert (np.diff([*values, run.objective]) <= margin).all()
    # What the statistics say is what the definition says.
    labels = rows.collect(labels_of)
    weights = np.ones(n_rows) if sample_weight is None else sample_weight
    centers = model.public(run.parameters).astype(float)
    inertia = weights @ ((X - centers[labels]) ** 2).sum(axis=1)
    np.testing.assert_allclose(run.objective, inertia, rtol=1e-10)
    assert run.history[0] >= run.history[-1]


def test_history_is_the_inertia_of_each_iteration():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 3)) + 5
    sample_weight = rng.uniform(size=100)
    init = X[:4]
    model = KMeans(4, init=init, tol=0).fit(X, sample_weight=sample_weight)
    assert len(model.inertias_) == model.n_iter_
    distances = ((X[:, None] - init) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(model.inertias_[0], sample_weight @ distances, rtol=1e-12)
    np.testing.assert_allclose(model.inertias_[-1], model.inertia_, rtol=1e-12)


# scikit-learn's callback protocol.


class Recorder:
    """Writes down what scikit-learn's protocol calls; stops a task after some subtasks."""

    def __init__(self, stop=None):
        self.calls = []
        self.stop = stop
        self.fitted = []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, metadata, fitted_estimator):
        name = f"{context.task_name} {context.task_id}"
        self.calls.append(f"end {name}")
        self.fitted.append(fitted_estimator)
        self.X, self.metadata = X, metadata
        return name == self.stop


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 2)) + rng.integers(4, size=(200, 1)) * 2


def test_callbacks_see_runs_and_iterations(blobs):
    recorder = Recorder()
    model = KMeans(4, n_init=2, random_state=0, tol=0).set_callbacks(recorder)
    sample_weight = np.ones(200)
    model.fit(blobs, sample_weight=sample_weight)
    calls = recorder.calls
    assert calls[:4] == ["setup", "begin fit 0", "begin run 0", "begin iteration 0"]
    assert calls[-3:] == ["end run 1", "end fit 0", "teardown"]
    second = calls.index("begin run 1")
    n_iterations = [part.count("begin iteration 0") for part in (calls[:second], calls[second:])]
    assert n_iterations == [1, 1]
    lengths = [
        sum(call.startswith("end iteration") for call in part)
        for part in (calls[:second], calls[second:])
    ]
    assert model.n_iter_ in lengths
    assert recorder.X is blobs
    assert recorder.metadata["sample_weight"] is sample_weight
    # The estimator given to callbacks predicts as the fit would end there.
    np.testing.assert_array_equal(recorder.fitted[-1].predict(blobs), model.labels_)
    scores = [fitted.score(blobs) for fitted in recorder.fitted[: lengths[0]]]
    assert (np.diff(scores) >= -1e-9).all()
    unwatched = KMeans(4, n_init=2, random_state=0, tol=0).fit(blobs, sample_weight=sample_weight)
    np.testing.assert_array_equal(unwatched.cluster_centers_, model.cluster_centers_)


def test_a_callback_can_stop_the_iterations(blobs):
    free = KMeans(4, init="random", n_init=2, random_state=0, tol=0).fit(blobs)
    assert free.n_iter_ > 2
    recorder = Recorder(stop="iteration 1")
    model = KMeans(4, init="random", n_init=2, random_state=0, tol=0).set_callbacks(recorder)
    model.fit(blobs)
    assert model.n_iter_ == 2
    assert "begin run 1" in recorder.calls
    np.testing.assert_array_equal(model.labels_, model.predict(blobs))


def test_a_callback_can_stop_the_runs(blobs):
    recorder = Recorder(stop="run 0")
    KMeans(4, n_init=3, random_state=0).set_callbacks(recorder).fit(blobs)
    assert "begin run 1" not in recorder.calls


def test_progress_bar_shows_runs_and_iterations(blobs, capsys):
    model = KMeans(4, n_init=2, random_state=0).set_callbacks(ProgressBar())
    model.fit(blobs)
    shown = capsys.readouterr().out
    assert "KMeans - fit" in shown
    assert "KMeans - run #0" in shown
    assert "KMeans - run #1" in shown
    assert shown.count("100%") == 3


def test_progress_bar_of_a_pipeline_reaches_the_iterations(blobs, capsys):
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0))
    pipeline.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(blobs)
    assert "KMeans - run #0" in capsys.readouterr().out


def test_scoring_monitor_sees_each_iteration(blobs):
    monitor = ScoringMonitor(scoring="v_measure_score")
    truth = (blobs[:, 0] > blobs[:, 0].mean()).astype(int)  # only the monitor looks at it
    model = KMeans(4, random_state=0, tol=0).set_callbacks(monitor).fit(blobs, truth)
    rows = monitor.get_logs(select="most_recent").data
    scores = [row["v_measure_score"] for row in rows if row["task_name"] == "iteration"]
    assert len(scores) == model.n_iter_
    assert scores[-1] == pytest.approx(v_measure_score(truth, model.labels_))


def test_callbacks_end_when_a_fit_fails(blobs):
    def fail(X, n_clusters, random_state):
        raise RuntimeError("no start")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="no start"):
        KMeans(2, init=fail).set_callbacks(recorder).fit(blobs)
    assert recorder.calls == ["setup", "begin fit 0", "begin run 0", "teardown"]


# Ctrl-C.


class Interrupter(Recorder):
    def on_fit_task_end(self, estimator, context):
        if context.task_name == "iteration" and context.task_id == 1:
            raise KeyboardInterrupt


def test_an_interrupted_first_fit_leaves_the_estimator_unfitted(blobs):
    interrupter = Interrupter()
    model = KMeans(4, random_state=0, tol=0).set_callbacks(interrupter)
    with pytest.raises(KeyboardInterrupt):
        model.fit(blobs)
    assert interrupter.calls[-1] == "teardown"
    with pytest.raises(NotFittedError):
        model.predict(blobs)
    assert not hasattr(model, "n_features_in_")


def test_an_interrupted_second_fit_leaves_the_first(blobs):
    model = KMeans(4, random_state=0, tol=0).fit(blobs)
    before = {name: value for name, value in vars(model).items() if name != "_skl_callbacks"}
    model.set_callbacks(Interrupter())
    with pytest.raises(KeyboardInterrupt):
        model.fit(np.hstack([blobs, blobs]))
    model.set_callbacks()
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.predict(blobs), model.labels_)
