"""Rows in homes of several parts, and whether fits to these are fits to the array."""

import itertools

import numpy as np

from fastem import em
from fastem.rows import LocalRows, Part

# Where parts end, as shares of the rows; several are empty.
SPLITS = {
    "one part": [],
    "two parts": [0.3],
    "five parts": [0.0, 0.2, 0.2, 0.71],
    "one row and many": [0.001, 0.9, 1.0],
}


class PoissonMixture(em.Mixture):
    def log_density(x, log_rates, rates):
        total = 0.0
        for f in range(len(x)):
            total += x[f] * log_rates[f] - rates[f]
        return total

    def arguments(self, rates):
        return np.log(rates), rates

    def m_step(self, counts, sums):
        return np.maximum(sums / counts[:, np.newaxis], 1e-3)


def parts_of(X, sample_weight, split):
    ends = [int(np.ceil(share * X.shape[0])) for share in SPLITS[split]]
    edges = [0, *ends, X.shape[0]]
    return [
        Part(X[a:b], None if sample_weight is None else sample_weight[a:b], a, number)
        for number, (a, b) in enumerate(itertools.pairwise(edges))
    ]


def split_rows(X, sample_weight, split):
    return LocalRows(parts_of(X, sample_weight, split))


def assert_same_fit(fitted, expected, rtol=1e-10):
    """Labels and counts are equal, numbers close; relative to the largest of an array."""
    attributes = {
        name: value
        for name, value in vars(expected).items()
        if name.endswith("_") and not name.startswith("_")
    }
    assert {name for name in vars(fitted) if name.endswith("_")} == set(attributes)
    for name, value in attributes.items():
        ours = getattr(fitted, name)
        for own, other in zip(_arrays(ours), _arrays(value), strict=True):
            assert own.dtype == other.dtype, name
            if own.dtype.kind == "f":
                atol = rtol * np.abs(other).max(initial=0.0)
                np.testing.assert_allclose(own, other, rtol=rtol, atol=atol, err_msg=name)
            else:
                np.testing.assert_array_equal(own, other, err_msg=name)


def _arrays(value):
    return [np.asarray(array) for array in (value if isinstance(value, tuple) else (value,))]
