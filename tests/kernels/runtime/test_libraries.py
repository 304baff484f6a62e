import gc
import sys
import weakref

import numpy as np
import pytest
from llvmlite import ir
from numba import njit
from numba.core.registry import cpu_target

from fastem.kernels.runtime import apart
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.libraries import Library


def test_wrong_arguments_from_python_raise():
    """Though what unpacks them isn't optimised."""
    compiled = kernel(lambda array, pair: array[0] + pair[1])
    array = np.arange(3.0)
    counts = sys.getrefcount(array)
    for _ in range(100):
        assert compiled(array, (1, 2.5)) == 2.5
        with pytest.raises(TypeError):
            compiled(array)
        with pytest.raises(TypeError):
            compiled.overloads[next(iter(compiled.overloads))].entry_point(array, 3)
    assert sys.getrefcount(array) == counts


@inline
def squared(value):
    return value * value


@inline
def distance(a, b):
    return squared(a) + squared(b)


def both(a, b):
    return distance(a, b) - squared(b)


def test_what_is_inlined_is_linked_by_each_who_calls_it():
    assert kernel(both)(3.0, 2.0) == kernel(lambda a: squared(a) + 0.0)(3.0) == 9.0


def test_a_user_s_function_links_it_too():
    assert njit(both)(3.0, 2.0) == 9.0


def test_numba_links_it_where_kernels_are_not_compiled_apart(monkeypatch):
    monkeypatch.setattr(apart, "finished", lambda library, modules: None)
    assert kernel(both)(3.0, 2.0) == 9.0


def test_no_instruction_is_left_of_functions_that_are_written_out():
    module = ir.Module("module")
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), [ir.IntType(32)]), "double")
    builder = ir.IRBuilder(function.append_basic_block())
    twice = builder.add(*function.args * 2)
    builder.ret(twice)
    text = str(module)
    left = weakref.ref(twice), weakref.ref(builder.block), weakref.ref(builder.block.terminator)
    library = Library(cpu_target.target_context.codegen(), "library")
    gc.disable()  # which would find them, later
    try:
        del builder, twice
        library.add_ir_module(module)
        assert [reference() for reference in left] == [None] * 3
    finally:
        gc.enable()
    assert library._waiting == [("module", text)]
