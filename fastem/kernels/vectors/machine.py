"""What the machine that Numba compiles for is like, and the tiles of rows that suit it.

A *tile* is ``TILE`` rows transposed to (features, lanes), so that one vector holds one feature of
several rows and every operation works on that many rows at once.
"""

import platform

import llvmlite.binding
from numba.core import config

# Rows of a tile: 256 bytes a feature in float32, 512 in float64. A stride of a multiple of 2 KiB
# would make the features of a tile fight for the same cache sets.
TILE = 64

LINE_BYTES = 64  # of a line of the cache


def _cpu_features():
    """The feature string that Numba compiles for."""
    if config.CPU_FEATURES is not None:
        return config.CPU_FEATURES
    return llvmlite.binding.get_host_cpu_features().flatten()


CPU_FEATURES = frozenset(_cpu_features().split(","))


def _vector_bytes():
    if "+avx512f" in CPU_FEATURES:
        return 64
    return 32 if "+avx" in CPU_FEATURES else 16


VECTOR_BYTES = _vector_bytes()
LANES = VECTOR_BYTES // 4  # float32 values in a vector
DOUBLES = VECTOR_BYTES // 8  # float64 values in one


def vector_lanes(dtype):
    """How many values of a Numba type a vector holds."""
    return VECTOR_BYTES * 8 // dtype.bitwidth


# AVX-512 and NEON have 32 vector registers, older x86 has 16.
WIDE_REGISTER_FILE = VECTOR_BYTES == 64 or platform.machine() not in ("x86_64", "AMD64")


def _has_byte_dots():
    """Whether the CPU adds up four products of bytes a lane at once, as wide as its vectors."""
    if VECTOR_BYTES == 64:
        return "+avx512vnni" in CPU_FEATURES
    # The same instruction under two names; without AVX-512's, LLVM takes AVX-VNNI's.
    either = {"+avxvnni", "+avx512vnni"} & CPU_FEATURES
    return VECTOR_BYTES == 32 and bool(either)


BYTE_DOTS = _has_byte_dots()

# Whether the CPU widens vectors of 16-bit floats; elsewhere LLVM calls a function for each value.
WIDENS_HALVES = "+f16c" in CPU_FEATURES or platform.machine() in ("arm64", "aarch64")
