import os
import subprocess
import sys
import textwrap

import pytest
from processes import LISTEN, PACKAGE

from fastem.commands import recipes
from fastem.kernels.kmeans import ALGORITHMS
from fastem.mixtures.gaussian.covariances import COVARIANCES


@pytest.fixture
def python():
    """Runs Python with these arguments and environment; returns what it printed."""

    def run(*arguments, status=0, **environment):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=PACKAGE.parent,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=550,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def script(text):
    """A script that ends with what Numba has compiled."""
    return f"{LISTEN}{textwrap.dedent(text)}\nfor name in compiled: print('compiled', name)\n"


# Every word that a parameter may be, with every word of another one: no option can be forgotten.
PAIRS = """
from itertools import combinations
import numpy as np, scipy.sparse
from fastem.sklearn_private import StrOptions

def pairs(estimator):
    words = [
        (name, word)
        for name, constraints in estimator._parameter_constraints.items()
        for constraint in constraints
        if isinstance(constraint, StrOptions)
        for word in sorted(constraint.options)
    ]
    for (name, word), (other, another) in combinations(words, 2):
        if name != other:
            yield {name: word, other: another}

def blobs(n_rows, n_features, n_clusters, dtype):
    random = np.random.default_rng(1)
    places = 5 * random.normal(size=(n_clusters, n_features))
    rows = places[np.arange(n_rows) % n_clusters] + random.normal(size=(n_rows, n_features))
    return rows.astype(dtype)
"""

# Sizes and options that the recipes don't have.
FITS = {
    "KMeans": """
        import contextlib, io
        from fastem import KMeans, silhouette_score, simplified_silhouette_score
        for dtype in ("float32", "float64"):
            X, ones = blobs(250, 3, 6, dtype), np.ones(250)
            for options in pairs(KMeans):
                KMeans(6, random_state=1, **options).fit(X)
                KMeans(6, random_state=1, **options).fit(X, sample_weight=ones)
            rows = scipy.sparse.csr_matrix((blobs(2000, 40, 5, dtype) > 3).astype(dtype))
            for options in pairs(KMeans):
                if "algorithm" not in options:
                    KMeans(5, random_state=1, **options).fit(rows)
            KMeans(40, init=0.5 + 1e-9 * np.random.default_rng(0).random((40, 40))).fit(rows)
            silhouette_score(X, np.arange(250) % 4)
            simplified_silhouette_score(X, X[:4])
            for n_rows, n_features, n_clusters in ((900, 3, 7), (2100, 30, 33), (700, 120, 11)):
                X = np.random.default_rng(1).normal(size=(n_rows, n_features)).astype(dtype)
                for algorithm in ("auto", "elkan", "hamerly", "lloyd"):
                    model = KMeans(n_clusters, algorithm=algorithm, random_state=1)
                    model.fit(X, sample_weight=np.ones(n_rows)).transform(X)
                    model.fit(X).score(X)
                KMeans(n_clusters, search="breathing", random_state=1).fit(X)
            X = np.random.default_rng(1).normal(size=(9000, 12)).astype(dtype)
            KMeans(7, random_state=1).fit(X)
            X = np.random.default_rng(1).normal(size=(9500, 2)).astype(dtype)
            KMeans(70, random_state=1).fit(X)
            places = 9 * np.random.default_rng(1).normal(size=(45, 49))
            X = np.repeat(places, 250, axis=0) + np.random.default_rng(2).normal(size=(11250, 49))
            init = np.tile(places, (8, 1)) + 0.1 * np.random.default_rng(3).normal(size=(360, 49))
            KMeans(360, init=init, algorithm="bytes", max_iter=5).fit(X.astype(dtype))
            rows = scipy.sparse.random(500, 60, 0.1, "csr", dtype, random_state=0)
            for n_clusters in (9, 20):
                KMeans(n_clusters, random_state=0).fit(rows).predict(rows)
            rows = scipy.sparse.random(900, 70_000, 0.001, "csr", dtype, random_state=0)
            few = scipy.sparse.random(250, 2500, 0.01, "csr", dtype, random_state=0)
            near = scipy.sparse.vstack([few[:9]] * 40, "csr")
            near.data *= (1 + 1e-5 * np.random.default_rng(1).normal(size=near.nnz)).astype(dtype)
            for n_clusters in (6, 30):
                for large in (rows, few):
                    for init in ("k-means++", "random", "random_partition"):
                        model = KMeans(n_clusters, init=init, n_init=2, random_state=1)
                        model.fit(large, sample_weight=np.ones(large.shape[0])).predict(large)
                    KMeans(n_clusters, search="breathing", random_state=1, max_iter=9).fit(large)
                    with contextlib.redirect_stdout(io.StringIO()):
                        KMeans(n_clusters, verbose=1, random_state=1).fit(large)
                KMeans(n_clusters, init=near[:n_clusters].toarray()).fit(near)
            KMeans(40, init=0.5 + 1e-9 * np.random.default_rng(0).random((40, 2500))).fit(few)
        """,
    "KMedians": """
        from fastem import KMedians, silhouette_score, simplified_silhouette_score
        for dtype in ("float32", "float64"):
            X = blobs(250, 3, 6, dtype)
            for options in pairs(KMedians):
                KMedians(6, random_state=1, **options).fit(X)
                KMedians(6, random_state=1, **options).fit(X, sample_weight=np.ones(250))
            X = blobs(900, 12, 6, dtype)
            KMedians(6, search="breathing", random_state=1).fit(X)
            silhouette_score(X, np.arange(len(X)) % 4, metric="manhattan")
            simplified_silhouette_score(X, X[:4], metric="l1")
            for n_rows, n_features, n_clusters in ((900, 3, 7), (2100, 30, 33)):
                X = np.random.default_rng(1).normal(size=(n_rows, n_features)).astype(dtype)
                KMedians(n_clusters, init="random", random_state=1).fit(X).transform(X)
        """,
    "GaussianMixture": """
        from fastem import GaussianMixture
        for dtype in ("float32", "float64"):
            X = blobs(200, 3, 4, dtype)
            for number, options in enumerate(pairs(GaussianMixture)):
                weights = np.ones(200) if number % 2 else None
                model = GaussianMixture(4, max_iter=3, random_state=1, **options)
                model.fit(X, sample_weight=weights)
            gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
            for options in pairs(GaussianMixture):
                if "em" in options.values() and "noise_component" not in options:
                    GaussianMixture(4, max_iter=3, random_state=1, **options).fit(gaps)
            for noise in (np.ones(3), np.eye(3), np.ones(X.shape), np.tile(np.eye(3), (200, 1, 1))):
                model = GaussianMixture(4, max_iter=3, missing="em", random_state=1)
                model.fit(gaps, noise=noise).denoise(gaps, noise), model.impute(gaps, draw=True)
            for given in (
                {"tol": 0}, {"tol": np.float32(0.1), "reg_covar": 0}, {"noise_component": -20},
                {"fixed": {"means"}}, {"precisions_init": 2}, {"max_iter": np.int32(3)},
            ):
                GaussianMixture(4, covariance_type="tied_spherical", **given).fit(X)
                if "precisions_init" not in given:
                    GaussianMixture(4, **given).fit(X)
            for n_rows, n_features, n_components in ((900, 3, 7), (2100, 20, 5)):
                X = np.random.default_rng(1).normal(size=(n_rows, n_features)).astype(dtype)
                for kind in ("full", "tied", "diag", "spherical", "tied_diag", "VEV", "EVI"):
                    for start in ("kmeans", "k-means++", "random"):
                        model = GaussianMixture(
                            n_components, covariance_type=kind, init_params=start, max_iter=5,
                            reg_covar=1e-3, random_state=0,
                        )
                        model.fit(X).predict_proba(X)
                        model.bic(X), model.sample(3)
            X = np.random.default_rng(1).normal(size=(16_000, 30)).astype(dtype)
            GaussianMixture(9, covariance_type="diag", max_iter=2, random_state=0).fit(X)
        """,
    "BernoulliMixture": """
        from fastem import BernoulliMixture
        for dtype in ("float32", "float64"):
            X = (blobs(200, 15, 4, dtype) > 0).astype(dtype)
            gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
            for options in pairs(BernoulliMixture):
                found = [X, scipy.sparse.csr_matrix(X)] + [gaps] * ("em" in options.values())
                for rows in found:
                    model = BernoulliMixture(4, max_iter=5, alpha=1, random_state=1, **options)
                    model.fit(rows).fit(rows, sample_weight=np.ones(200))
            X = np.random.default_rng(1).integers(2, size=(800, 40)).astype(dtype)
            for rows in (X, scipy.sparse.csr_matrix(X)):
                BernoulliMixture(6, random_state=0).fit(rows).predict_proba(rows)
        """,
    "kernels": """
        from fastem import kernels
        from fastem.kernels import parallel
        for dtype in ("float32", "float64"):
            X = np.random.default_rng(1).normal(size=(300, 5)).astype(dtype)
            kernels.nearest(X, X[:7]), kernels.manhattan(X, X), kernels.squared_euclidean(X, X)
            labels, means = np.arange(300, dtype=np.int32) % 7, X[:7]
            kernels.cluster_medians(X, labels, 7)
            kernels.cluster_medians(X, labels.tolist(), 7, np.ones(300))
            kernels.cluster_medians(X, np.int32(labels)[::-1], 7)
            kernels.normalize_responsibilities(X)
            factors = kernels.cholesky(np.tile(np.eye(5), (7, 1, 1)).astype(dtype))
            kernels.cholesky(np.eye(5).astype(dtype).tolist())
            scales = {
                "full": factors, "tied": factors[0], "diag": np.ones((7, 5)),
                "spherical": np.ones(7), "tied_diag": np.ones(5), "tied_spherical": 1.0,
            }
            for kind, scale in scales.items():
                kernels.gaussian_log_density(X, means, scale, kind)
                parallel.gaussian_log_density(X, means, scale, kind)
            for rows in (X > 0, (X > 0).astype(dtype), (X > 0).astype(int)):
                kernels.bernoulli_log_density(rows, np.full((7, 5), 0.3))
                parallel.bernoulli_log_density(rows, np.full((7, 5), 0.3))
            for rows in (X, X.tolist(), np.asfortranarray(X), np.float16(X)):
                parallel.nearest(rows, X[:7]), parallel.manhattan(rows, X)
                parallel.squared_euclidean(rows, X), parallel.normalize_responsibilities(rows)
                parallel.cluster_medians(rows, labels, 7)
                parallel.cluster_medians(rows, labels.tolist(), 7, np.ones(300, dtype))
            parallel.cholesky(factors), parallel.cholesky(factors[0])
        """,
}


@pytest.fixture(scope="module")
def compiled():
    """A cache with all that there is to compile: this run's own, which other tests fill, too."""
    done = subprocess.run(
        [sys.executable, "-m", "fastem", "compile", "--jobs", "2"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_says_what_it_does(compiled):
    assert "GaussianMixture float64 full" in compiled
    assert "KMeans float32 csr" in compiled
    assert "writable" in compiled.splitlines()[-1]


@pytest.mark.parametrize("model", FITS)
def test_nothing_is_left_to_compile(model, compiled, python):
    said = python(
        "-W",
        "ignore",
        "-c",
        script(f"{PAIRS}\n{textwrap.dedent(FITS[model])}\nprint('done')"),
    )
    assert said == "done\n"


IN_COMPILED_CODE = """
import numpy as np
from numba import njit, prange
from fastem import kernels
from fastem.kernels import parallel

@njit
def serial(X, Y, labels):
    return kernels.nearest(X, Y), kernels.cluster_medians(X, labels, 7)

@njit(parallel=True)
def on_threads(X, Y, labels, factors):
    found, squares = parallel.nearest(X, Y)
    for row in prange(len(squares)):
        squares[row] *= 2.0
    means = parallel.cluster_medians(X, labels, 7).astype(np.float64)
    parallel.squared_euclidean(X, Y), parallel.manhattan(X, Y)
    log_density = parallel.gaussian_log_density(X, means, parallel.cholesky(factors))
    diagonal = parallel.gaussian_log_density(X, means, np.ones((7, 5)), "diag")
    return parallel.normalize_responsibilities(log_density), squares, diagonal

@njit(parallel=True)
def bernoulli(X, probabilities):
    return parallel.bernoulli_log_density(X, probabilities)

for dtype in (np.float32, np.float64):
    X = np.random.default_rng(1).normal(size=(300, 5)).astype(dtype)
    labels = np.arange(300) % 7
    serial(X, X[:7], labels)
    on_threads(X, X[:7], labels, np.tile(np.eye(5), (7, 1, 1)))
    bernoulli((X > 0).astype(dtype), np.full((7, 5), 0.3))
"""


def test_users_compiled_code_compiles_itself_only(compiled, python):
    # What fits arguments to the kernels' is part of the caller, and no function of Numba's itself.
    text = f"""{LISTEN}{IN_COMPILED_CODE}
from numba.core.dispatcher import Dispatcher
for module, name in zip(modules, compiled):
    if isinstance(getattr(sys.modules[module], name, None), Dispatcher):
        print(name)
"""
    said = python("-W", "ignore", "-c", f"import sys\n{text}").splitlines()
    assert said[0] == "serial"
    assert set(said) == {"serial", "on_threads", "bernoulli"}


FIT = script(
    """
    import numpy as np
    from fastem import BernoulliMixture
    X = np.random.default_rng(1).integers(2, size=(800, 40)).astype("float32")
    BernoulliMixture(6, max_iter=3, random_state=0).fit(X)
    BernoulliMixture(3, search="breathing", random_state=0).fit(X[:200])
    """
)


def test_for_another_cpu(python, tmp_path):
    here = {"NUMBA_CACHE_DIR": str(tmp_path)}
    options = ("--models", "BernoulliMixture", "--dtypes", "float32", "--jobs", "1")
    python("-m", "fastem", "compile", *options, **here)
    assert python("-W", "ignore", "-c", FIT, **here) == ""
    other = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert "compiled" in python("-W", "ignore", "-c", FIT, **here, **other)
    said = python("-m", "fastem", "compile", *options, "--cpu", "generic", **here)
    assert "NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=\n" in said
    # both lie beside each other
    assert python("-W", "ignore", "-c", FIT, **here, **other) == ""
    assert python("-W", "ignore", "-c", FIT, **here) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "KMean"], "invalid choice: 'KMean'"),
        (["--dtypes", "float16"], "invalid choice: 'float16'"),
        (["--jobs", "0"], "--jobs: must be a whole number from 1 on, not '0'"),
        (["--jobs", "two"], "--jobs: must be a whole number from 1 on, not 'two'"),
        (["--cpu", ""], "--cpu: must be a name"),
        (["--cpu-features", "+help"], "--cpu-features: must be names behind + or -"),
        (["--cpu-features", "avx2"], "--cpu-features: must be names behind + or -"),
        (["--cpu-features", "+avx2, +fma"], "no spaces, such as +avx,+avx2,+fma; not ' +fma'"),
    ],
)
def test_wrong_options(options, said, python):
    assert said in python("-m", "fastem", "compile", *options, status=2)


def test_features_without_a_cpu(python):
    said = python("-m", "fastem", "compile", "--cpu-features", "+avx2", status=1)
    assert said == "--cpu-features needs --cpu\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cpu", "x86-64-v9"], "LLVM doesn't know the CPU 'x86-64-v9' of "),
        (
            ["--cpu", "generic", "--cpu-features", "+that,-this"],
            "LLVM doesn't know the feature '+that' and the feature '-this' of ",
        ),
    ],
)
def test_what_llvm_does_not_know(options, said, python):
    assert python("-m", "fastem", "compile", *options, status=1).startswith(said)


def test_a_cpu_of_shorter_words(python):
    said = python("-m", "fastem", "compile", "--cpu", "i686", status=1)
    unknown, short = "LLVM doesn't know the CPU 'i686' of ", "LLVM can't compile for i686: 64-bit"
    assert said.startswith((unknown, short))


def test_the_names_that_llvm_knows(python):
    said = python("-m", "fastem", "compile", "--cpu", "help")
    assert "Available CPUs for this target" in said and " generic " in said
    assert "compiled in" not in said and "ERROR" not in said


def test_a_cpu_of_the_environment_has_this_machines_features(python, tmp_path):
    """As Numba takes them: without these, LLVM couldn't compile for it."""
    options = ("--models", "KMedians", "--dtypes", "float32", "--jobs", "1")
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert "compiled in" in python("-m", "fastem", "compile", *options, **settings)


def test_what_llvm_does_not_know_of_the_environment(python):
    settings = {"NUMBA_CPU_NAME": "x86-64-v9", "NUMBA_CPU_FEATURES": "+that"}
    said = python("-m", "fastem", "compile", status=1, **settings)
    assert "LLVM doesn't know the CPU 'x86-64-v9' and the feature '+that' of " in said


def test_nowhere_to_write(python, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    said = python("-m", "fastem", "compile", status=1, NUMBA_CACHE_DIR=str(folder)).splitlines()
    assert said[0].startswith("Kernels can't be kept: none of these folders can be written.")
    assert "NUMBA_CACHE_DIR" in said[0]
    assert len(said) == 2
    assert said[1].startswith(str(folder))


def test_without_a_compiler(python):
    said = python("-m", "fastem", "compile", status=1, NUMBA_DISABLE_JIT="1")
    assert said == "Nothing can be compiled: NUMBA_DISABLE_JIT is set\n"


def test_recipes_have_all_algorithms_and_passes():
    assert set(recipes.MODELS["KMeans"].options) == {*ALGORITHMS, "csr"}
    passes = {kind.passes for kind in COVARIANCES.values()}
    assert passes <= set(recipes.MODELS["GaussianMixture"].options)
