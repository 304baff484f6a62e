"""A program for several ranks: fits all models, or fails in all ways, and says what happened.

``python mpi_program.py fits|faults|calls FOLDER`` under ``mpiexec``; each rank pickles a dict.
"""

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from homes import PoissonMixture
from sklearn.base import clone

from fastem import BernoulliMixture, GaussianMixture, KMeans, KMedians, em
from fastem.clustering.manhattan import medians
from fastem.rows import mpi_rows

N_ROWS = 700
# Where the ranks' rows end, by the number of ranks: uneven, and one of three has none.
ENDS = {1: [N_ROWS], 2: [201, N_ROWS], 3: [300, 300, N_ROWS]}


def blobs(dtype=np.float64):
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(4, 3), scale=3.0)
    return (centers[rng.integers(4, size=N_ROWS)] + rng.normal(size=(N_ROWS, 3))).astype(dtype)


def bits():
    rng = np.random.default_rng(5)
    probabilities = rng.uniform(size=(3, 17))
    x = rng.uniform(size=(N_ROWS, 17)) < probabilities[rng.integers(3, size=N_ROWS)]
    return x.astype(np.float64)


def counts():
    return np.random.default_rng(6).poisson(np.exp(blobs() / 4)).astype(np.float64)


def weights():
    return np.random.default_rng(4).uniform(size=N_ROWS)


def _same(X):
    return X


# Estimator, rows, whether these have weights, and what they are put in.
CASES = {
    "kmeans": (KMeans(5, random_state=0), blobs, True, _same),
    "kmeans float32": (KMeans(5, random_state=0), lambda: blobs(np.float32), False, _same),
    "kmeans csr": (KMeans(4, random_state=1), bits, True, sp.csr_array),
    "kmeans||": (KMeans(5, init="k-means||", random_state=2), blobs, True, _same),
    "kmeans random": (KMeans(5, init="random", random_state=2), blobs, False, _same),
    "kmeans partition": (KMeans(5, init="random_partition", random_state=2), blobs, True, _same),
    "kmeans array": (KMeans(4, init=blobs()[:4]), blobs, False, _same),
    "kmeans far centres": (
        KMeans(4, init=blobs()[:4] + 99 * np.eye(4, 3)),
        blobs,
        False,
        _same,
    ),
    "kmedians": (KMedians(5, random_state=0), blobs, False, _same),
    "kmedians weights": (
        KMedians(4, init="random_partition", n_init=2, random_state=0),
        blobs,
        True,
        _same,
    ),
    "full": (GaussianMixture(3, random_state=0), blobs, True, _same),
    "tied random": (
        GaussianMixture(2, covariance_type="tied", init_params="random", random_state=0),
        blobs,
        False,
        _same,
    ),
    "diag squarem": (
        GaussianMixture(3, covariance_type="diag", accelerate="squarem", random_state=0),
        blobs,
        False,
        _same,
    ),
    "VEV": (GaussianMixture(3, covariance_type="VEV", random_state=0), blobs, False, _same),
    "prior": (GaussianMixture(3, prior="conjugate", random_state=0), blobs, False, _same),
    "bernoulli": (BernoulliMixture(3, random_state=0, max_iter=500), bits, True, _same),
    "bernoulli csr": (BernoulliMixture(3, random_state=0, max_iter=500), bits, False, sp.csr_array),
    "own": (PoissonMixture(3, random_state=0), counts, True, _same),
}


# What estimators say of each row.
ROW_METHODS = "predict", "transform", "predict_proba", "score_samples"


def slices(n_ranks):
    ends = ENDS[n_ranks]
    return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _mine(comm):
    return slices(comm.size)[comm.rank]


def fits(comm):
    """What each fit gives on this rank; the estimator is used after it as any other."""
    found = {}
    for name, (estimator, data, weighted, container) in CASES.items():
        here = _mine(comm)
        X = container(data()[here])
        rows = mpi_rows(X, comm, weights()[here] if weighted else None)
        estimator.fit(rows)
        fitted = pickle.loads(pickle.dumps(estimator))
        clone(estimator)
        said = {what: getattr(fitted, what)(rows) for what in ROW_METHODS if hasattr(fitted, what)}
        said["fit_predict"] = clone(estimator).fit_predict(rows)
        found[name] = vars(fitted), said
    return found


class _Failing(em.Model):
    """Fails in a step, or between two, on the second rank."""

    def __init__(self, where, error):
        self.where, self.error = where, error

    def start(self, rows, random_state):
        return 0

    def e_step(self, rows, parameters):
        return rows.reduce(_step, self.where == "step" and parameters == 2, self.error)

    def m_step(self, rows, statistics, parameters):
        if self.where == "driver" and parameters == 3 and _RANK == 1:
            raise self.error
        return parameters + 1

    def objective(self, statistics, parameters):
        return float(parameters)


_RANK = 0


def _step(part, fails, error):
    if fails and part.number == 1:
        raise error
    return float(part.n_rows)


class _Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(first)


def _start_that_fails(X, n_clusters, random_state):
    if _RANK == 1:
        raise ArithmeticError("no start today")
    return X.take(np.arange(n_clusters))


def faults(comm):
    """The errors that each rank sees, by what is wrong."""
    global _RANK
    _RANK = comm.rank
    X, found = blobs()[comm.rank * 100 : comm.rank * 100 + 50], {}

    def tried(name, call):
        try:
            call()
        except BaseException as error:
            notes = getattr(error, "__notes__", [])
            found[name] = type(error).__name__, " ".join([str(error), *notes])

    def fit_failing(name, where, error):
        rows = mpi_rows(X, comm)
        tried(name, lambda: em.fit(_Failing(where, error), rows, max_iter=9))

    def with_one_wrong(value):
        wrong = X.copy()
        wrong[7, 1] = value if comm.rank == 1 else wrong[7, 1]
        return wrong

    fit_failing("step", "step", ValueError("a bad step"))
    fit_failing("driver", "driver", ValueError("a bad driver"))
    fit_failing("interrupt in a step", "step", KeyboardInterrupt())
    fit_failing("interrupt between steps", "driver", KeyboardInterrupt())
    fit_failing("unpicklable", "step", _Unpicklable("one", "two"))
    failed = GaussianMixture(2)
    tried("NaN", lambda: failed.fit(mpi_rows(with_one_wrong(np.nan), comm)))
    found["fitted"] = hasattr(failed, "means_")
    tried("NaN for K-means", lambda: KMeans(2).fit(mpi_rows(with_one_wrong(np.nan), comm)))
    weight = np.ones(50)
    weight[3] -= 2 * (comm.rank == 1)
    tried("weight", lambda: KMeans(2).fit(mpi_rows(X, comm, weight)))
    tried("width", lambda: mpi_rows(X[:, : 3 - (comm.rank == 1)], comm))
    tried("dtype", lambda: mpi_rows(X.astype("f4" if comm.rank == 1 else "f8"), comm))
    tried("weights", lambda: mpi_rows(X, comm, weight if comm.rank == 1 else None))
    tried("shape", lambda: mpi_rows(X if comm.rank != 1 else X[0], comm))
    tried("length", lambda: mpi_rows(X, comm, np.ones(50 + (comm.rank == 1))))
    tried("few", lambda: KMeans(5).fit(mpi_rows(X[: comm.rank], comm)))
    tried("none", lambda: KMeans(1).fit(mpi_rows(X[:0], comm)))
    tried("start", lambda: KMeans(2, init=_start_that_fails, n_init=1).fit(mpi_rows(X, comm)))
    here = comm.rank == 1
    tried("unequal loops", lambda: em.fit(_Failing("", None), mpi_rows(X, comm), max_iter=3 + here))
    tried("unequal parameters", lambda: KMeans(2 + here).fit(mpi_rows(X, comm)))
    tried("unequal arrays", lambda: KMeans(2, init=X[here : 2 + here]).fit(mpi_rows(X, comm)))
    unequal = BernoulliMixture(2) if here else GaussianMixture(2)
    tried("unequal models", lambda: unequal.fit(mpi_rows(X, comm)))
    tried("a parameter on one", lambda: GaussianMixture(-2 if here else 2).fit(mpi_rows(X, comm)))
    tried("a parameter on all", lambda: GaussianMixture(-2).fit(mpi_rows(X, comm)))
    extra = weight if here else None
    tried("an argument", lambda: GaussianMixture(2).fit(mpi_rows(X, comm), sample_weight=extra))
    fitted = KMeans(2, n_init=1).fit(X)
    other = KMeans(2) if here else fitted
    tried("prediction without a fit", lambda: other.predict(mpi_rows(X, comm)))
    tried("prediction of NaN", lambda: fitted.predict(mpi_rows(with_one_wrong(np.nan), comm)))
    tried("prediction of a width", lambda: fitted.transform(mpi_rows(X[:, :2], comm)))
    tried("prediction of none", lambda: fitted.predict(mpi_rows(X[:0], comm)))
    # After all that the communicator is as good as before.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found["after"] = KMeans(3, random_state=0).fit(mpi_rows(X, comm)).inertia_
    return found


class _Counting:
    """A communicator that allows nothing but what is counted."""

    def __init__(self, comm):
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size
        self.n_calls = self.n_bytes = 0

    def Allgather(self, sent, received):
        self.n_calls += 1
        self.n_bytes += len(sent)
        self._comm.Allgather(sent, received)


def calls(comm):
    """Collective calls and bytes an iteration, by the model and the number of rows.

    The ranks are in two communicators, whose fits differ.
    """
    own = comm.Split(color=comm.rank % 2)
    found = {}
    for name, estimator in (
        ("kmeans", KMeans(8 + comm.rank % 2, init="random", n_init=1, random_state=0, tol=0.0)),
        ("full", GaussianMixture(4 + comm.rank % 2, init_params="random", random_state=0, tol=0.0)),
    ):
        for n_rows in (500, 5000):
            X = np.random.default_rng(own.rank).normal(size=(n_rows, 6))
            measured = []
            for max_iter in (2, 6):
                counting = _Counting(own)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    clone(estimator).set_params(max_iter=max_iter).fit(mpi_rows(X, counting))
                measured.append((counting.n_calls, counting.n_bytes))
            (before, few), (after, many) = measured
            found[name, n_rows] = (after - before) / 4, (many - few) / 4
    # Nobody gave a seed: all take the first rank's.
    unseeded = GaussianMixture(2, init_params="random_from_data", random_state=None)
    found["unseeded"] = unseeded.fit(mpi_rows(X, own)).means_
    return found


if __name__ == "__main__":
    from mpi4py import MPI

    # So that intervals around medians are followed among so few rows, too.
    medians._KEPT_SHARE = 1.0
    world = MPI.COMM_WORLD
    results = {"fits": fits, "faults": faults, "calls": calls}[sys.argv[1]](world)
    path = Path(sys.argv[2]) / f"{sys.argv[1]}-{world.size}-{world.rank}"
    path.write_bytes(pickle.dumps(results))
