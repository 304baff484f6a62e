import numpy as np
import pytest
import scipy.sparse as sp

from fastem.kernels.columns import inverted
from fastem.kernels.columns.inverted import block_size, inverted_nbytes, inverted_rows
from fastem.kernels.distances.sparse import sparse_rows


def scattered(rng, shape, dtype):
    X = rng.normal(size=shape) * (rng.uniform(size=shape) < 0.2)
    X *= 10.0 ** rng.integers(-30, 30, size=(shape[0], 1))  # each row has its own step
    X[::7] = 0
    return sp.csr_array(X.astype(dtype))


def decoded(X, columns, block_rows):
    """Dense rows of what there is by columns, and how often each place is there."""
    rows, times = np.zeros(X.shape), np.zeros(X.shape, int)
    for block, (start, stops) in enumerate(zip(columns.starts, columns.stops, strict=True)):
        begins = np.append(0, stops[:-1])
        for f, (begin, end) in enumerate(zip(begins, stops, strict=True)):
            pairs = columns.codes.reshape(-1, 2)[start + begin : start + end].astype(int)
            numbers = block * block_rows + pairs[:, 0]
            assert (np.diff(numbers) > 0).all()
            rows[numbers, f] = pairs[:, 1] * columns.steps[numbers].astype(float)
            times[numbers, f] += 1
    return rows, times


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (300, 40), (1000, 7)])
@pytest.mark.parametrize("rows_of_block", [1, 64, 5000])
def test_values_are_those_of_the_rows(rows_of_block, shape, dtype, monkeypatch):
    monkeypatch.setattr(inverted, "_ROWS", rows_of_block)
    X = scattered(np.random.default_rng(0), shape, dtype)
    block_rows = block_size(X)
    columns = inverted_rows(sparse_rows(X), block_rows, shape[1], 0.25)
    rows, times = decoded(X, columns, block_rows)
    dense = X.toarray().astype(float)
    np.testing.assert_array_equal(times, dense != 0)
    error = np.abs(rows - 0.25 * dense)
    assert (error <= 0.51 * columns.steps[:, np.newaxis]).all()
    most = np.abs(dense).max(axis=1)
    np.testing.assert_allclose(columns.steps, 0.25 * most / 32767, rtol=1e-6, atol=0)
    nbytes = columns.codes.nbytes + columns.steps.nbytes + columns.stops.nbytes
    assert nbytes == inverted_nbytes(X)


def test_values_next_to_zero():
    """Their inverse would overflow, and not fit into a code."""
    X = sp.csr_array(np.array([[5e-324, 0.0], [1e-300, -1e-300], [0.0, 1.0]]))
    columns = inverted_rows(sparse_rows(X), 3, 2, 1.0)
    rows, _ = decoded(X, columns, 3)
    np.testing.assert_array_equal(rows[:2], 0)
    np.testing.assert_allclose(rows[2], [0.0, 1.0], rtol=1e-6)


def test_few_blocks_where_columns_are_many():
    """Where each column ends in each block is to take little beside the values."""
    X = sp.random(20_000, 50_000, 0.001, "csr", rng=np.random.default_rng(0))
    n_blocks = -(-X.shape[0] // block_size(X))
    assert n_blocks == 7  # 12 bytes each in the rows, and 4 each in a block
    assert inverted_nbytes(X) < 0.5 * (X.data.nbytes + X.indices.nbytes)
