"""Which CSR matrices are taken as they are."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastem.kernels.columns.order import is_in_order


def sound(rng, shape, share):
    X = sp.csr_array(rng.uniform(size=shape) * (rng.uniform(size=shape) < share))
    return X.indices.astype(np.int32), X.indptr.astype(np.int32)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (20_000, 9), (50_000, 1)])
def test_sound_matrices(shape, share, dtype):
    indices, indptr = sound(np.random.default_rng(0), shape, share)
    assert is_in_order(indices, indptr.astype(dtype), shape[1])


def has_faults(indices, indptr, n_features):
    """What is asked, row by row in plain Python."""
    if len(indptr) < 2 or indptr[0] != 0 or indptr[-1] != len(indices):
        return True
    for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
        if not 0 <= start <= stop <= len(indices):
            return True
        row = indices[start:stop].tolist()
        if row != sorted(set(row)) or any(not 0 <= f < n_features for f in row):
            return True
    return False


@pytest.mark.parametrize("n_rows", [1, 40, 9000])
@pytest.mark.parametrize("seed", range(60))
def test_one_value_changed(seed, n_rows):
    """Which often is a fault: out of range, out of order, or twice."""
    rng = np.random.default_rng(seed)
    n_features = int(rng.integers(1, 60))
    arrays = sound(rng, (n_rows, n_features), 0.3)
    changed = arrays[seed % 2]
    if len(changed):
        value = rng.choice([-1, 0, 1, n_features - 1, n_features, len(arrays[0]), 2**31 - 1])
        changed[rng.integers(len(changed))] = value
    assert is_in_order(*arrays, n_features) != has_faults(*arrays, n_features)


def test_no_rows():
    assert not is_in_order(np.empty(0, np.int32), np.zeros(1, np.int32), 3)
