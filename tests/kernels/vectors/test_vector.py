import numpy as np
import pytest
from guards import Guarded
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.emit import data_pointer, load_at, store_at, sum_lanes, transpose_square
from fastem.kernels.vectors.machine import DOUBLES, LANES, vector_lanes
from fastem.kernels.vectors.vector import (
    Vector,
    bits,
    broadcast,
    count_bits,
    double,
    first_bit,
    greater,
    greatest_of_lanes,
    lanes_of,
    least_of_lanes,
    lesser,
    load,
    lowest_of,
    magnitude,
    multiply_add,
    single,
    square_root,
    store,
    sum_of_lanes,
    where,
)

N_LANES = {np.dtype(np.float32): LANES, np.dtype(np.float64): DOUBLES}
DTYPES = [np.float32, np.float64]


@intrinsic
def transpose(typingctx, square, output):
    def codegen(context, builder, signature, args):
        n = vector_lanes(square.dtype)
        source, target = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 1)
        )
        vector = context.get_value_type(Vector(square.dtype, n))
        size = square.dtype.bitwidth // 8
        index = ir.IntType(64)
        rows = [load_at(builder, source, index(i * n), vector, size) for i in range(n)]
        for i, row in enumerate(transpose_square(builder, rows)):
            store_at(builder, row, target, index(i * n), size)
        return context.get_dummy_value()

    return types.void(square, output), codegen


@intrinsic
def total(typingctx, vector):
    def codegen(context, builder, signature, args):
        return sum_lanes(builder, args[0])

    return vector.dtype(vector), codegen


@kernel
def transposed(square, output):
    transpose(square, output)


def evaluate(lanes):
    """All operations on one vector each of a, b and c; ``lanes`` must be a constant."""

    @kernel
    def operations(a, b, c, output, masks):
        x, y, z = load(a, 0, lanes), load(b, 0, lanes), load(c, 0, lanes)
        store(x + y, output[0], 0)
        store(x - y, output[1], 0)
        store(x * y, output[2], 0)
        store(x / y, output[3], 0)
        store(multiply_add(x, y, z), output[4], 0)
        store(lesser(x, y), output[5], 0)
        store(greater(x, y), output[6], 0)
        store(where(x < y, x, z), output[7], 0)
        store(square_root(x), output[8], 0)
        store(broadcast(a[1], lanes), output[9], 0)
        store(z / y, output[10], 0)
        masks[0] = bits(x < y)
        masks[1] = bits(x <= y)
        masks[2] = bits((x < y) & (y < z))
        masks[3] = bits((x < y) | (y < z))
        return total(z), lanes_of(a)

    return operations


KERNELS = {np.float32: evaluate(LANES), np.float64: evaluate(DOUBLES)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_operations(dtype, seed):
    lanes = N_LANES[np.dtype(dtype)]
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(-3, 4, (3, lanes)).astype(dtype) / dtype(3)
    if seed >= 2:
        a, b, c = rng.normal(size=(3, lanes)).astype(dtype)
    if seed == 4:
        a[rng.integers(lanes)] = b[rng.integers(lanes)] = np.nan
        a[0], b[0], b[lanes - 1] = 1, 0, np.inf
    inputs = [Guarded(array) for array in (a, b, c)]
    output = Guarded(np.zeros((11, lanes), dtype))
    masks = np.zeros(4, np.uint64)
    lane_sum, n_lanes = KERNELS[dtype](*(x.array for x in inputs), output.array, masks)
    got = output.array
    with np.errstate(all="ignore"):
        expected = [a + b, a - b, a * b, a / b]
        expected.append((a.astype(np.longdouble) * b + c).astype(dtype))
        expected += [np.where(a < b, a, b), np.where(a > b, a, b), np.where(a < b, a, c)]
        expected += [np.sqrt(a), np.full(lanes, a[1]), c / b]
    for result, wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    for mask, wanted in zip(
        masks, [a < b, a <= b, (a < b) & (b < c), (a < b) | (b < c)], strict=True
    ):
        assert int(mask) == sum(int(bit) << lane for lane, bit in enumerate(wanted))
    np.testing.assert_allclose(lane_sum, c.sum(dtype=float), atol=1e-6)
    assert n_lanes == lanes == lanes_of(a)
    assert output.intact()


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiply_add_rounds_once(dtype):
    lanes = N_LANES[np.dtype(dtype)]
    step = np.finfo(dtype).eps
    a = np.full(lanes, 1 + step, dtype)
    output = np.zeros((11, lanes), dtype)
    KERNELS[dtype](a, a, np.full(lanes, -1 - 2 * step, dtype), output, np.zeros(4, np.uint64))
    np.testing.assert_array_equal(output[4], np.full(lanes, step**2, dtype))


@kernel
def of_one_vector(a, magnitudes, singles, doubles):
    lanes = lanes_of(a)
    x = load(a, 0, lanes)
    store(magnitude(x), magnitudes, 0)
    store(single(x), singles, 0)
    store(double(x), doubles, 0)
    return least_of_lanes(x), greatest_of_lanes(x), sum_of_lanes(x), lowest_of(a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_vector(dtype):
    lanes = N_LANES[np.dtype(dtype)]
    for a in np.random.default_rng(0).normal(size=(20, lanes)).astype(dtype):
        outputs = [Guarded(np.zeros(lanes, other)) for other in (dtype, np.float32, np.float64)]
        least, greatest, lane_sum, lowest = of_one_vector(a, *(output.array for output in outputs))
        for output, wanted in zip(
            outputs, (abs(a), a.astype(np.float32), a.astype(float)), strict=True
        ):
            np.testing.assert_array_equal(output.array, wanted)
            assert output.intact()
        assert (least, greatest, lowest) == (a.min(), a.max(), np.finfo(dtype).min)
        np.testing.assert_allclose(lane_sum, a.sum(dtype=float), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(dtype):
    lanes = N_LANES[np.dtype(dtype)]
    square = Guarded(np.arange(lanes * lanes, dtype=dtype).reshape(lanes, lanes))
    output = Guarded(np.zeros((lanes, lanes), dtype))
    transposed(square.array, output.array)
    np.testing.assert_array_equal(output.array, square.array.T)
    assert output.intact()


@kernel
def scan(mask, positions):
    n = count_bits(mask)
    i = 0
    while mask != np.uint64(0):
        positions[i] = first_bit(mask)
        mask &= mask - np.uint64(1)
        i += 1
    return n


@pytest.mark.parametrize("lanes", [[], [0], [63], [0, 63], [3, 5, 31, 32, 40], list(range(64))])
def test_bits_of_a_mask(lanes):
    positions = np.full(64, -1)
    assert scan(np.uint64(sum(1 << lane for lane in lanes)), positions) == len(lanes)
    assert positions[: len(lanes)].tolist() == lanes
