"""Keeps compiled kernels on disk, without ever failing or returning stale code.

Numba's own cache hashes only the file of the function itself, so that after an upgrade of the
package it may run the old version of a callee; it raises where nothing can be written, already at
import; and concurrent writers can lose entries. Here every signature is one file, written
aside and moved into place, whose key covers all that the machine code depends on.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import secrets
import shutil
import stat
import sys
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite import binding as llvm
from numba.core import config
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.np.ufunc.parallel import _launch_threads

_SOURCES = Path(__file__).resolve().parents[1]  # all kernels
_DIGEST_SIZE = hashlib.sha256().digest_size
_GENERATIONS = 4  # kept side by side: several Pythons or branches may share one folder
_MOST_BYTES = 1 << 26  # of an entry: a hundred times the largest
_PARALLEL = "numba_parallel_for"  # what code on Numba's threads needs of these

# What Numba's environment variables change in the generated code, beside the CPU.
_CODE_OPTIONS = (
    "OPT",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "DEBUG_JIT",
    "DEBUG_NRT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "DISABLE_INTEL_SVML",
    "EXTEND_VARIABLE_LIFETIMES",
    "ENABLE_PROFILING",
    "JIT_COVERAGE",
    "LLVM_REFPRUNE_PASS",
    "LLVM_REFPRUNE_FLAGS",
    "NRT_STATS",
    "USE_LLVMLITE_MEMORY_MANAGER",
)


class _NotCacheable(Exception):
    """The function depends on something the key can't describe."""


@functools.cache
def say_once(reason):
    """Warn that this process goes without a cache."""
    warnings.warn(
        f"fastem can't keep compiled kernels on disk, and compiles them in each process: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )


@contextlib.contextmanager
def _never_failing():
    """Whatever is wrong with an entry or a disk, compiling anew is the remedy.

    What is wrong with this module, in the eyes of a new Numba say, is said.
    """
    try:
        yield
    except (OSError, _NotCacheable):
        pass
    except Exception as error:
        say_once(f"{type(error).__name__}: {error}")


def _source_files(folder):
    # Not by `os.walk` and `pathlib`, with which a look at all files took 3 ms, once a kernel.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _source_files(entry.path)
            elif entry.name.endswith(".py"):
                yield entry


def _source_stamp():
    """The sources' names, sizes and times: whether they changed since they were read."""
    statuses = [(entry.path, entry.stat()) for entry in _source_files(_SOURCES)]
    return tuple(sorted((path, status.st_size, status.st_mtime_ns) for path, status in statuses))


def _source_digest():
    digest = hashlib.sha256()
    for path in sorted(Path(entry.path) for entry in _source_files(_SOURCES)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_SOURCES).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _read_sources():
    # Read when this module is imported, hence before any kernel is: what is on disk later may not
    # be what runs. A zip file or a frozen program has no sources to read, and so no cache.
    try:
        stamp = _source_stamp()
        return (stamp, _source_digest()) if stamp else (None, None)
    except OSError:
        return None, None


_STAMP, _DIGEST = _read_sources()


def _user_folder():
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home, expanduser leaves "~" in place.
    return Path(base) / "fastem" if os.path.isabs(base) else None


def _folders():
    """Where this installation's entries may be, best first."""
    installation = "fastem_" + hashlib.sha256(str(_SOURCES).encode()).hexdigest()[:16]
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR) / installation]
    folders = [_SOURCES / "__pycache__" / installation]
    user = _user_folder()
    if user is not None:
        folders.append(user / installation)
    return folders


@functools.cache
def _generation():
    """The subfolder's name: which sources, compiled with what."""
    versions = (_DIGEST, numba.__version__, llvmlite.__version__, np.__version__, sys.version)
    return hashlib.sha256(repr(versions).encode()).hexdigest()[:24]


def entry_folders():
    """Where the entries of these sources and versions may be, best first."""
    return [folder / _generation() for folder in _folders()]


def has_entry(function):
    """Whether any signature of a function may be on disk."""
    for folder in entry_folders():
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            if any(entry.name.startswith(f"{function.__name__}-") for entry in entries):
                return True
    return False


def _describe(value):
    """A text that is the same in every process, and differs if the compiled code may."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, (np.generic, np.dtype)):
        return f"{type(value).__name__}({value!r})"
    if isinstance(value, tuple):
        return f"{type(value).__name__}({', '.join(map(_describe, value))})"
    if isinstance(value, (frozenset, set)):
        return f"{type(value).__name__}({', '.join(sorted(map(_describe, value)))})"
    if isinstance(value, numba.types.Type):
        text = f"{type(value).__name__}:{value}"
        if " at 0x" in text:  # a type made for one object in this process
            raise _NotCacheable(text)
        return text
    # A dispatcher, an intrinsic or a plain function.
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value
    if not hasattr(function, "__code__"):
        raise _NotCacheable(repr(value))
    return _describe_function(function)


def _describe_function(function):
    code = function.__code__
    file = Path(code.co_filename).resolve()
    if not file.is_relative_to(_SOURCES):
        raise _NotCacheable(f"{file} is not among the hashed sources")
    cells = ", ".join(_describe(cell.cell_contents) for cell in function.__closure__ or ())
    name = f"{file.relative_to(_SOURCES).as_posix()}:{code.co_firstlineno}:{function.__qualname__}"
    return f"{name} closure({cells}) defaults({_describe(function.__defaults__)})"


def _undefined_symbols(library):
    """What the machine code needs from outside; None if that can't be told."""
    with contextlib.suppress(Exception):
        module = library._final_module
        values = [*module.functions, *module.global_variables]
        names = [value.name for value in values if value.is_declaration]
        return [name for name in names if not name.startswith("llvm.")]
    return None


def _prepare(target_context, symbols):
    """Make the process ready to link machine code that needs these symbols.

    Numba's ``refresh`` imports and registers all it can compile, most of the time of a first call,
    and code that is already compiled needs little of it: Numba's runtime and a few helpers. LLVM
    aborts the process if a symbol is missing, so whatever is not there yet makes us refresh.
    """
    if symbols is not None:
        if _PARALLEL in symbols:
            _launch_threads()  # Numba does so for a parallel function, not for one that calls it
        rtsys.initialize(target_context)
        if all(llvm.address_of_symbol(name) is not None for name in symbols):
            return
    target_context.refresh()


def _key(function, sig, codegen):
    """All that the machine code of a signature depends on, beside sources and versions."""
    options = [(name, str(getattr(config, name, None))) for name in _CODE_OPTIONS]
    options.append(("max", getattr(config.OPT, "is_opt_max", None)))
    described = _describe_function(function), _describe_signature(sig)
    return repr((*described, codegen.magic_tuple(), options))


def link_key(function, sig, codegen):
    """A text for a signature's machine code, that of no other one, in any process."""
    sources = _generation() if _DIGEST is not None else secrets.token_hex(16)
    return f"{sources} {_key(function, sig, codegen)}"


class DiskCache:
    """The compiled signatures of one function; what Numba expects at ``dispatcher._cache``.

    Parameters
    ----------
    function : function
        The undecorated kernel. Only functions defined in this package are stored.
    """

    def __init__(self, function):
        self._function = function
        self._enabled = True

    @property
    def cache_path(self):
        """The folder looked into first."""
        return str(entry_folders()[0])

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        """Nothing to do: an entry can only be right, so there is never one to forget."""

    def load_overload(self, sig, target_context):
        """The stored compile result of a signature, or None."""
        with _never_failing():
            name, key = self._entry(sig, target_context.codegen())
            for folder in entry_folders():
                with _never_failing():
                    result = self._load(folder / name, key, sig, target_context)
                    if result is not None:
                        return result
        return None

    def save_overload(self, sig, result):
        """Store a compile result where it is possible."""
        with _never_failing():
            # As Numba does: code that holds addresses of this process is of no use to another.
            if result.library.has_dynamic_globals or any(not x.can_cache for x in result.lifted):
                return
            name, key = self._entry(sig, result.codegen)
            symbols = _undefined_symbols(result.library)
            content = dumps((key, symbols, result._reduce()))
            for folder in entry_folders():
                with contextlib.suppress(OSError):
                    _write(folder, name, content)
                    with contextlib.suppress(OSError):
                        _prune(folder.parent)
                    return

    def _entry(self, sig, codegen):
        """The file's name, and the key it is a hash of."""
        if not self._enabled or _STAMP is None or _source_stamp() != _STAMP:
            raise _NotCacheable("the sources are not those this process runs")
        key = _key(self._function, sig, codegen)
        return f"{self._function.__name__}-{hashlib.sha256(key.encode()).hexdigest()}.kernel", key

    @staticmethod
    def _load(path, key, sig, target_context):
        content = _read(path)
        digest, content = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        # Damaged machine code would crash the process.
        if hashlib.sha256(content).digest() != digest:
            return None
        stored_key, symbols, reduced = pickle.loads(content)
        if stored_key != key:
            return None
        _prepare(target_context, symbols)
        result = CompileResult._rebuild(target_context, *reduced)
        arguments = sig.args if hasattr(sig, "args") else sig
        return result if tuple(result.signature.args) == tuple(arguments) else None


def _describe_signature(sig):
    arguments = tuple(sig.args) if hasattr(sig, "args") else tuple(sig)
    return _describe((arguments, getattr(sig, "return_type", None)))


def _read(path):
    """An entry's bytes. A pipe in its place would block and a device might never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
        raise OSError(f"{path} is no entry")
    return path.read_bytes()


def _write(folder, name, content):
    for place in (folder.parent, folder):  # a file or a dangling link may be there
        if not place.is_dir():
            place.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    # Not by `tempfile`, whose files only their owner may read: modes follow the umask.
    temporary = folder / f"{name[:32]}-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name)
        os.replace(temporary, folder / name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@functools.cache
def _prune(folder):
    """Drop the oldest generations, once in a process; a process that uses one compiles anew."""
    generations = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in [path for path in generations if path.name != _generation()][_GENERATIONS - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
