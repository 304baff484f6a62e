import contextlib
import os
import signal
import threading

import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock

from fastem.kernels.runtime import apart
from fastem.kernels.runtime.apart import compiling_shared, finished
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.libraries import Library


@inline
def half(value):
    return 0.5 * value


def summed(array, least):
    total = 0.0
    for row in range(len(array)):
        if array[row] >= least:
            total += half(array[row])
    return total


def library_of(compiled):
    return next(iter(compiled.overloads.values())).library


def test_the_machine_code_is_the_same_to_the_byte(monkeypatch):
    found = []

    def in_vain(library, modules):
        found.append(finished(library, modules))

    monkeypatch.setattr(apart, "finished", in_vain)
    compiled = kernel(summed)
    with compiling_shared():
        assert compiled(np.arange(7.0), 3.0) == 9.0
    [(_, machine_code)] = found
    assert library_of(compiled)._machine_code is None
    assert library_of(compiled)._get_compiled_object() == machine_code


def test_shared_compilation_gives_what_numba_would():
    compiled = kernel(summed)
    with compiling_shared():
        assert compiled(np.arange(7.0), 3.0) == 9.0
    assert library_of(compiled)._machine_code is not None
    assert library_of(compiled).serialize_using_object_code()[2][0]


def test_numba_compiles_where_its_insides_are_others(monkeypatch):
    monkeypatch.setattr(apart, "_call", lambda name: None)
    compiled = kernel(summed)
    with compiling_shared():
        assert compiled(np.arange(7.0), 3.0) == 9.0
    assert library_of(compiled)._machine_code is None


def test_llvm_times_its_passes_of_one_thread_only(monkeypatch):
    monkeypatch.setattr(apart.config, "LLVM_PASS_TIMINGS", 1)
    compiled = kernel(summed)
    with compiling_shared():
        assert compiled(np.arange(7.0), 3.0) == 9.0
    assert library_of(compiled)._machine_code is None


def waiting_for(event, monkeypatch):
    """Have LLVM's part of the first kernel wait for an event; returns one for its beginning."""
    begun, finish = threading.Event(), apart._finish

    def late(*args):
        if not begun.is_set():
            begun.set()
            assert event.wait(60)
        return finish(*args)

    monkeypatch.setattr(apart, "_finish", late)
    return begun


def test_a_thread_compiles_while_llvm_is_at_its_part_for_another(monkeypatch):
    compiled, results = threading.Event(), []
    begun = waiting_for(compiled, monkeypatch)
    first = kernel(lambda value: value + 1)
    second = kernel(lambda value: value + 2)
    thread = threading.Thread(target=lambda: results.append(first(1)))
    with compiling_shared():
        thread.start()
        assert begun.wait(60)
        assert second(1) == 3
        compiled.set()
        thread.join()
    assert results == [2]
    assert not global_compiler_lock.is_locked()


@pytest.mark.parametrize("error", [None, MemoryError, KeyboardInterrupt])
def test_threads_that_want_the_same_kernel_compile_it_once(error, monkeypatch):
    wanted, results = threading.Event(), []
    begun = waiting_for(wanted, monkeypatch)
    compiled = kernel(lambda value: value + 1)
    once, n_works = apart.once, []

    def counted(key, work):
        def counting():
            n_works.append(0)
            result = work()
            if error and len(n_works) == 1:
                raise error
            return result

        if begun.is_set():
            wanted.set()
        return once(key, counting)

    monkeypatch.setattr("fastem.kernels.runtime.compilers.once", counted)

    def call():
        try:
            results.append(compiled(1))
        except (MemoryError, KeyboardInterrupt):
            results.append(None)

    threads = [threading.Thread(target=call) for _ in range(2)]
    with compiling_shared():
        threads[0].start()
        assert begun.wait(60)
        threads[1].start()
        for thread in threads:
            thread.join()
    assert results == ([None, 2] if error else [2, 2])
    assert len(n_works) == (2 if error else 1)
    assert compiled(3) == 4


def test_a_kernel_that_others_are_compiled_for_keeps_the_lock(monkeypatch):
    finish, locked = apart._finish, []

    def noting(*args):
        locked.append(global_compiler_lock.is_locked())
        return finish(*args)

    monkeypatch.setattr(apart, "_finish", noting)
    inner = kernel(summed)
    outer = kernel(lambda array: inner(array, 3.0) + 1.0)
    with compiling_shared():
        assert outer(np.arange(7.0)) == 10.0
    assert locked == [True, False]
    assert kernel(summed)(np.arange(7.0), 3.0) == 9.0
    assert locked == [True, False, True]


@pytest.mark.parametrize("sharing", [compiling_shared, contextlib.nullcontext])
def test_machine_code_is_made_before_the_engine_has_it(sharing, monkeypatch):
    """The engine calls Python's functions, in which an interrupt would be lost."""
    made, finalize = [], JITCodeLibrary._finalize_specific

    def noting(self):
        made.append(self._compiled_object is not None)
        finalize(self)

    monkeypatch.setattr(Library, "_finalize_specific", noting)
    with sharing():
        assert kernel(summed)(np.arange(7.0), 3.0) == 9.0
    assert made == [True]


def test_an_interrupt_leaves_nothing_of_llvms_to_be_freed(monkeypatch):
    """The garbage collector would free a context before its modules, which ends the process."""
    held = []

    def interrupted(machine, module):
        held.extend([machine, module])
        raise KeyboardInterrupt

    monkeypatch.setattr(apart, "_emitted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kernel(summed)(np.arange(7.0), 3.0)
    assert [one.closed for one in held] == [True, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_waits_for_no_thread_of_its_parent(monkeypatch):
    forked = threading.Event()
    begun = waiting_for(forked, monkeypatch)
    compiled = kernel(lambda value: value + 1)

    def call():
        with compiling_shared():
            compiled(1)

    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if not apart.is_shared() and compiled(1) == 2 else 1)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
