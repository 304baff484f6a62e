"""Fits on real ranks are those in memory; an error on one rank is one on all."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import mpi_program
import numpy as np
import pytest
from homes import assert_same_fit
from mpi_program import CASES, ROW_METHODS, slices, weights
from sklearn.base import clone

from fastem import KMeans
from fastem.rows import LocalRows, Part

MPIEXEC = Path(sys.executable).with_name("mpiexec")
TIMEOUT = 300


def on_ranks(n_ranks, what, folder):
    """What each rank of the program found; fails if one fails or hangs."""
    tests = Path(mpi_program.__file__).parent
    # Ranks that wait let others have the core; threads in each rank all the same.
    environment = os.environ | {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "NUMBA_NUM_THREADS": "2"}
    environment["PYTHONPATH"] = f"{tests.parent}{os.pathsep}{tests}"
    command = [MPIEXEC, "-n", str(n_ranks), sys.executable, mpi_program.__file__, what, folder]
    done = subprocess.run(
        command, env=environment, timeout=TIMEOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [
        # Of classes that the program itself defines.
        _Reader((Path(folder) / f"{what}-{n_ranks}-{rank}").open("rb")).load()
        for rank in range(n_ranks)
    ]


class _Reader(pickle.Unpickler):
    def find_class(self, module, name):
        return super().find_class("mpi_program" if module == "__main__" else module, name)


@pytest.fixture(scope="module", params=[2, 3], ids=["2 ranks", "3 ranks"])
def fitted(request, tmp_path_factory):
    return on_ranks(request.param, "fits", tmp_path_factory.mktemp("fits"))


@pytest.mark.parametrize("case", CASES)
def test_fits_are_those_in_memory(fitted, case):
    estimator, data, weighted, container = CASES[case]
    found = [attributes for attributes, _ in (ranks[case] for ranks in fitted)]
    X, sample_weight = container(data()), weights() if weighted else None
    expected = clone(estimator).fit(X, sample_weight=sample_weight)
    whole = clone(estimator)
    vars(whole).update(found[0])
    if hasattr(expected, "labels_"):
        whole.labels_ = np.concatenate([attributes["labels_"] for attributes in found])
    assert_same_fit(whole, expected, rtol=1e-10 if X.dtype == np.float64 else 2e-5)


@pytest.mark.parametrize("case", CASES)
def test_each_rank_is_told_of_its_own_rows(fitted, case):
    estimator, data, _, container = CASES[case]
    X = container(data())
    whole = clone(estimator)
    vars(whole).update(fitted[0][case][0])
    for what in fitted[0][case][1]:
        told = np.concatenate([ranks[case][1][what] for ranks in fitted])
        expected = getattr(whole, what if what in ROW_METHODS else "predict")(X)
        assert told.dtype == expected.dtype
        np.testing.assert_allclose(told, expected, rtol=1e-12 if X.dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_the_same_bits_on_all_ranks_and_in_parts_in_memory(fitted, case):
    estimator, data, weighted, container = CASES[case]
    X, sample_weight = container(data()), weights()
    parts = [
        Part(X[here], sample_weight[here] if weighted else None, here.start, number)
        for number, here in enumerate(slices(len(fitted)))
    ]
    in_parts = clone(estimator).fit(LocalRows(parts))
    for ranks in fitted:
        for name, value in vars(in_parts).items():
            if name.endswith("_") and name != "labels_":
                np.testing.assert_array_equal(ranks[case][0][name], value, err_msg=name)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return on_ranks(3, "faults", tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("step", "ValueError", "a bad step"),
        ("driver", "ValueError", "a bad driver"),
        ("interrupt in a step", "KeyboardInterrupt", ""),
        ("interrupt between steps", "KeyboardInterrupt", ""),
        ("NaN", "ValueError", "NaN in row 7 of part 1 (row 57 of all)"),
        ("NaN for K-means", "ValueError", "NaN in row 7 of part 1 (row 57 of all)"),
        ("weight", "ValueError", "negative: -1.0 in row 3 of part 1 (row 53 of all)"),
        ("width", "ValueError", "n_features is 3 on rank 0 and 2 on rank 1"),
        ("dtype", "ValueError", "dtype is float64 on rank 0 and float32 on rank 1"),
        ("weights", "ValueError", "weighted is False on rank 0 and True on rank 1"),
        ("shape", "ValueError", "Expected 2D array, got 1D array instead"),
        ("length", "ValueError", "sample_weight should have the shape (50,)"),
        ("few", "ValueError", "n_samples=3 should be >= n_clusters=5"),
        ("none", "ValueError", "Found array with 0 sample(s)"),
        ("start", "ArithmeticError", "no start today"),
        ("unequal loops", "RuntimeError", "different steps of their fits"),
        ("unequal parameters", "ValueError", "n_clusters is 2 on rank 0 and 3 on rank 1"),
        ("unequal arrays", "ValueError", "init is an array (2, 3) of check sum"),
        ("unequal models", "ValueError", "class is GaussianMixture on rank 0 and BernoulliMixture"),
        ("a parameter on one", "ValueError", "n_components is 2 on rank 0 and -2 on rank 1"),
        ("a parameter on all", "InvalidParameterError", "an int in the range [1, inf). Got -2"),
        ("an argument", "ValueError", "sample_weight should be None"),
        ("prediction without a fit", "NotFittedError", "is not fitted yet"),
        ("prediction of NaN", "ValueError", "contains NaN"),
        ("prediction of a width", "ValueError", "X has 2 features, but KMeans is expecting 3"),
        ("prediction of none", "ValueError", "Found array with 0 sample(s)"),
    ],
)
def test_an_error_on_one_rank_is_one_on_all(faults, fault, kind, message):
    for found in faults:
        assert found[fault][0] == kind
        assert message in found[fault][1]


def test_others_are_told_where_it_happened(faults):
    assert [("on rank 1" in found["step"][1]) for found in faults] == [True, False, True]


def test_an_error_that_cannot_be_sent_is_described(faults):
    assert [found["unpicklable"][0] for found in faults] == [
        "RuntimeError",
        "_Unpicklable",
        "RuntimeError",
    ]
    assert "_Unpicklable: one" in faults[0]["unpicklable"][1]


def test_a_failed_fit_leaves_all_as_before(faults):
    assert not any(found["fitted"] for found in faults)
    X = np.concatenate([mpi_program.blobs()[rank * 100 : rank * 100 + 50] for rank in range(3)])
    expected = KMeans(3, random_state=0).fit(X).inertia_
    for found in faults:
        assert found["after"] == pytest.approx(expected, rel=1e-12)


def test_one_call_an_iteration_through_the_communicator_given(tmp_path):
    """Of bytes whose number depends on the parameters only."""
    found = on_ranks(3, "calls", tmp_path)
    for rank, results in enumerate(found):
        for name, n_values in (("kmeans", 7), ("full", 1 + 6 + 36)):
            n_components = 8 + rank % 2 if name == "kmeans" else 4 + rank % 2
            (n_calls, few), (more_calls, many) = (results[name, n] for n in (500, 5000))
            assert n_calls == more_calls == 1
            assert few == many
            assert few <= 8 * n_components * n_values + 2000
    np.testing.assert_array_equal(found[0]["unseeded"], found[2]["unseeded"])
