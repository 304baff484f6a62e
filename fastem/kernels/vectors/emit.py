"""LLVM's vectors and loops, as the code generators of intrinsics emit them.

The vectors are LLVM's generic ones: the code generator lowers them to AVX-512, AVX2 or NEON,
whichever the machine has.
"""

from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES, vector_lanes

INDEX = ir.IntType(64)


def llvm_type(dtype):
    """LLVM's type of a scalar Numba type; a boolean is one bit."""
    if isinstance(dtype, types.Boolean):
        return ir.IntType(1)
    if isinstance(dtype, types.Float):
        return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


def constant(value):
    """An index or number of values, as LLVM takes it."""
    return ir.Constant(INDEX, value)


def as_index(value):
    """An index that may be LLVM's already."""
    return constant(value) if isinstance(value, int) else value


class Emitter:
    """The lines that the code of every intrinsic repeats.

    Parameters
    ----------
    context, builder, signature, args
        As Numba passes them to an intrinsic's code.
    """

    def __init__(self, context, builder, signature, args):
        self.context, self.builder = context, builder
        self.signature, self.args = signature, args

    def pointers(self, *numbers):
        """The addresses of the first values of the array arguments with these numbers."""
        return [
            data_pointer(self.context, self.builder, self.signature.args[i], self.args[i])
            for i in numbers
        ]

    def vector(self, i):
        """The type of the machine's vectors of the ``i``-th argument's values."""
        dtype = self.signature.args[i].dtype
        return ir.VectorType(llvm_type(dtype), vector_lanes(dtype))

    def extent(self, i, axis):
        """The length of the ``i``-th argument, an array, along an axis."""
        array = self.context.make_array(self.signature.args[i])
        shape = array(self.context, self.builder, self.args[i]).shape
        return self.builder.extract_value(shape, axis)

    def field(self, i, name):
        """The array that the ``i``-th argument, a named tuple, has under a name."""
        fields = self.signature.args[i]
        number = fields.fields.index(name)
        array = self.builder.extract_value(self.args[i], number)
        return self.context.make_array(fields.types[number])(self.context, self.builder, array)

    def plus(self, a, b):
        """The sum of two indices, each a number of Python's or LLVM's."""
        return self.builder.add(as_index(a), as_index(b))

    def times(self, a, b):
        """The product of two indices."""
        return self.builder.mul(as_index(a), as_index(b))

    def quotient(self, a, b):
        """The quotient of two indices, rounded towards zero."""
        return self.builder.sdiv(as_index(a), as_index(b))

    def at(self, pointer, i):
        """The address of the ``i``-th value from a pointer on."""
        return self.builder.gep(pointer, [as_index(i)])

    def row(self, pointer, i, width):
        """The address of the ``i``-th of rows of ``width`` values."""
        return self.at(pointer, self.times(i, width))

    def value(self, pointer, i):
        """The ``i``-th value from a pointer on."""
        return self.builder.load(self.at(pointer, i))

    def splat(self, pointer, i, lanes):
        """A vector with the ``i``-th value in every lane."""
        return splat(self.builder, self.value(pointer, i), lanes)

    def lanes(self, pointer, number, lane, vector):
        """The lanes from ``lane`` on of a tile's row: of a feature, say."""
        at = self.plus(self.times(number, TILE), lane)
        return load_at(self.builder, pointer, at, vector, VECTOR_BYTES)

    @contextmanager
    def loop(self, start, stop, step=1):
        """``for index in range(start, stop, step)`` around what is emitted inside."""
        if start == 0 and step == 1:
            with cgutils.for_range(self.builder, as_index(stop)) as loop:
                yield loop.index
        else:
            bounds = as_index(start), as_index(stop), as_index(step)
            with cgutils.for_range_slice(self.builder, *bounds, INDEX) as (index, _):
                yield index

    def places(self, n, value):
        """``n`` places on the stack, which LLVM keeps in registers, for copies of a value."""
        slots = [cgutils.alloca_once(self.builder, value.type) for _ in range(n)]
        for slot in slots:
            self.builder.store(value, slot)
        return slots

    def zeros(self, vector, n):
        """:meth:`places` for sums of this type."""
        return self.places(n, zeros_of(vector))

    def add(self, slot, value):
        """Add to what a place holds."""
        self.builder.store(self.builder.fadd(self.builder.load(slot), value), slot)

    def add_product(self, slot, a, b):
        """Add a product, rounded once."""
        self.builder.store(fma(self.builder, a, b, self.builder.load(slot)), slot)

    def add_at(self, pointer, i, vector):
        """Add a vector of float64 to the values from the ``i``-th on, wherever these lie."""
        old = load_at(self.builder, pointer, i, vector.type, 8)
        store_at(self.builder, self.builder.fadd(old, vector), pointer, i, 8)

    def if_equal(self, a, b):
        """``if a == b`` around what is emitted inside."""
        return self.builder.if_then(self.builder.icmp_signed("==", as_index(a), as_index(b)))

    def nothing(self):
        """What an intrinsic returns that returns nothing."""
        return self.context.get_dummy_value()


def zeros_of(vector):
    """A vector's or a scalar's zero."""
    if not isinstance(vector, ir.VectorType):
        return ir.Constant(vector, 0 if isinstance(vector, ir.IntType) else 0.0)
    return ir.Constant(vector, [zeros_of(vector.element).constant] * vector.count)


def align_stack(builder):
    """Have what the function keeps of vectors on the stack lie on lines of the cache.

    Vectors that don't fit into registers straddle two lines there otherwise.
    """
    attributes = builder.function.attributes
    attributes.alignstack = VECTOR_BYTES
    attributes.add("nounwind")  # beside no other one, llvmlite leaves the alignment out


def splat(builder, scalar, lanes):
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(
        ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)


def _name_suffix(vector):
    scalar = vector.element
    if isinstance(scalar, ir.FloatType):
        return f"v{vector.count}f32"
    if isinstance(scalar, ir.DoubleType):
        return f"v{vector.count}f64"
    return f"v{vector.count}i{scalar.width}"


def call_named(builder, name, result, args):
    """Call LLVM's function of this whole name, which makes a value of type ``result``."""
    function_type = ir.FunctionType(result, [a.type for a in args])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, args)


def call_llvm(builder, name, args):
    """Call the LLVM intrinsic ``name`` on vectors, declared by hand.

    llvmlite's ``declare_intrinsic`` refuses vector types.
    """
    vector = args[0].type
    return call_named(builder, f"llvm.{name}.{_name_suffix(vector)}", vector, args)


def fma(builder, a, b, c):
    """``a * b + c``, rounded once."""
    return call_llvm(builder, "fma", [a, b, c])


def minimum(builder, a, b):
    """The lesser of each lane (``b`` where unordered), one instruction on x86."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def maximum(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def add_product(builder, factors, total):
    """``total`` and the product of two factors, of vectors or scalars."""
    if isinstance(total.type, ir.VectorType):
        return fma(builder, *factors, total)
    return builder.fadd(total, builder.fmul(*factors))


def add_square(builder, value, total):
    """``total + value**2``, of vectors or scalars."""
    return add_product(builder, (value, value), total)


def add_magnitude(builder, value, total):
    """``total + abs(value)``, of vectors or scalars."""
    if isinstance(value.type, ir.VectorType):
        return builder.fadd(total, call_llvm(builder, "fabs", [value]))
    negative = builder.fcmp_ordered("<", value, ir.Constant(value.type, 0.0))
    return builder.fadd(total, builder.select(negative, builder.fneg(value), value))


def shuffle(builder, a, b, mask):
    constant = ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), list(mask))
    return builder.shuffle_vector(a, b, constant)


def transpose_square(builder, rows):
    """Transpose a square of vectors in registers: log2(n) rounds of n shuffles."""
    n = len(rows)
    half = n // 2
    rows = list(rows)
    while half:
        low = [i if not i & half else n + (i ^ half) for i in range(n)]
        high = [i ^ half if not i & half else n + i for i in range(n)]
        for i in range(n):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i] = shuffle(builder, a, b, low)
                rows[i + half] = shuffle(builder, a, b, high)
        half //= 2
    return rows


def fold_halves(builder, vector, lanes, emit):
    """A vector's halves by ``emit(builder, a, b)``, and so on, down to so many lanes."""
    while vector.type.count > lanes:
        half = vector.type.count // 2
        low = shuffle(builder, vector, vector, range(half))
        high = shuffle(builder, vector, vector, range(half, 2 * half))
        vector = emit(builder, low, high)
    return vector


def fold_lanes(builder, vector, emit):
    """One value of a vector's lanes by ``emit(builder, a, b)``, in pairs."""
    vector = fold_halves(builder, vector, 1, emit)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def sum_lanes(builder, vector):
    """The sum of a vector's lanes, added in pairs."""
    return fold_lanes(builder, vector, lambda builder, a, b: builder.fadd(a, b))


def sum_vectors(builder, vectors):
    """One vector of the sums of as many vectors as it has lanes, added in pairs."""
    lanes = len(vectors)
    vectors = list(vectors)
    # Neighbouring lanes first: most shuffles are the cheap ones, then.
    width = 1
    while width < lanes:
        low = [i if not i & width else lanes + (i ^ width) for i in range(lanes)]
        high = [i ^ width if not i & width else lanes + i for i in range(lanes)]
        vectors = [
            builder.fadd(shuffle(builder, a, b, low), shuffle(builder, a, b, high))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width *= 2
    return vectors[0]


def data_pointer(context, builder, array_type, array):
    """The address of an array's first value."""
    return context.make_array(array_type)(context, builder, array).data


def load_at(builder, pointer, index, vector, align):
    """Load a vector that starts ``index`` values behind ``pointer``."""
    address = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    return builder.load(address, align=align)


def load_some(builder, pointer, index, vector, align, count):
    """As :func:`load_at`, the first ``count`` values only; zeros behind, where nothing is read."""
    number = ir.IntType(32)
    numbers = ir.Constant(ir.VectorType(number, vector.count), list(range(vector.count)))
    mask = builder.icmp_signed(
        "<", numbers, splat(builder, builder.trunc(count, number), vector.count)
    )
    address = builder.gep(pointer, [index])
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [address.type, number, mask.type, vector]),
        f"llvm.masked.load.{_name_suffix(vector)}.p0",
    )
    zeros = ir.Constant(vector, [0.0] * vector.count)
    return builder.call(function, [address, number(align), mask, zeros])


def store_at(builder, value, pointer, index, align):
    address = builder.bitcast(builder.gep(pointer, [index]), value.type.as_pointer())
    builder.store(value, address, align=align)


def prefetch(builder, pointer, index, nearest=True):
    """Ask for the cache line of a value, which need not exist.

    It comes into all levels of the data cache, or into all but the ``nearest``: rows that stream
    through this one push out of it what they are compared with.
    """
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
        "llvm.prefetch.p0",
    )
    address = builder.bitcast(builder.gep(pointer, [index]), byte)
    # For reading, into a cache of data.
    builder.call(function, [address, flag(0), flag(3 if nearest else 2), flag(1)])
