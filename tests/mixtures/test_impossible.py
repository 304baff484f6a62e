"""Rows that are impossible, or of which nobody knows."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from numba import njit

from fastem import BernoulliMixture, em
from fastem.mixtures import bound
from fastem.rows import LocalRows, Part


class Bounded(em.Mixture):
    """Densities of one up to one, none beyond, and NaN for what is negative."""

    @njit
    def log_density(x, edge):
        return np.where(x[0] < 0.0, np.nan, np.where(x[0] <= edge, 0.0, -np.inf))

    def m_step(self, counts, sums):
        return np.ones(len(counts))


@pytest.fixture
def own():
    return Bounded(2, parameters_init=np.ones(2)).fit(np.zeros((4, 1)))


@pytest.fixture
def bernoulli():
    """Of rows that have the feature."""
    return BernoulliMixture(2, probabilities_init=np.ones((2, 1))).fit(np.ones((4, 1)))


METHODS = ("score_samples", "predict", "predict_proba")
UNKNOWN = r"The log-density of the row \[-7\.\] is not a number"
SUMS = ("icl", "bic", "score", "elbo", "expected_complete_log_likelihood")


def in_parts(X):
    return LocalRows([Part(X[:25]), Part(X[25:50], None, 25, 1), Part(X[50:], None, 50, 2)])


def test_a_log_density_that_is_no_number(own, monkeypatch):
    monkeypatch.setattr(bound, "_BLOCK_SIZE", 20)  # blocks of ten rows
    X = np.zeros((100, 1))
    X[73:] = -7.0
    for name in (*METHODS, *SUMS):
        with pytest.raises(ValueError, match=UNKNOWN):
            getattr(own, name)(X)
    for name in METHODS:
        with pytest.raises(ValueError, match=UNKNOWN):
            getattr(own, name)(in_parts(X))


def test_the_number_of_impossible_rows(own, bernoulli, monkeypatch):
    monkeypatch.setattr(bound, "_BLOCK_SIZE", 20)
    X = np.zeros((100, 1))
    X[[3, 7, 73]] = 5.0
    for model, rows in ((own, X), (bernoulli, X == 0), (bernoulli, sp.csr_matrix(X == 0))):
        for name in (*METHODS, *SUMS):
            with pytest.warns(RuntimeWarning) as record:
                getattr(model, name)(rows)
            assert [str(warning.message)[:18] for warning in record] == ["3 rows are impossi"]
            assert record[0].filename == __file__


def test_a_collection_s_log_density_that_is_no_number(own):
    X = np.zeros((100, 1))
    X[73] = -7.0
    with pytest.raises(ValueError, match=UNKNOWN):
        own.score_samples(da.from_array(X, chunks=(50, 1))).compute()
