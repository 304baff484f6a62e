import json
import os
import shutil
import stat
import textwrap

import numba
import numpy as np
import pytest
from processes import copy_package, finish, run_script, start

from fastem.kernels.runtime import cache
from fastem.kernels.runtime.compiling import inline, kernel

HELPER = """
from fastem.kernels.runtime.compiling import inline, kernel

@inline
def factor():
    return 2.0

@kernel
def scaled(value):
    return value * factor()
"""

PROBE = """
import math

import numpy as np

from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.helper import scaled

@kernel
def total(values):
    result = 0.0
    for value in values:
        result += scaled(value)
    return result

@kernel
def element(values, index):
    return values[index]

@kernel
def many_symbols(matrix, vector):
    if vector.shape[0] != matrix.shape[0]:
        raise ValueError("the shapes differ")
    scratch = np.zeros(3)
    return np.linalg.solve(matrix, vector).sum() + math.erf(vector[0]) + np.arange(3).sum()

def adder(amount):
    @kernel
    def add(value):
        return value + amount
    return add

def applier(function):
    @kernel
    def apply(value):
        return function(value)
    return apply

add_one, add_two = adder(1), adder(2)
apply_one, apply_two = applier(add_one), applier(add_two)
"""

# Prints as JSON whatever the script puts into `result`, and how many signatures came from disk.
REPORT = """
import json
import numpy as np
from fastem.kernels import probe
values = np.arange(5.0)
result = {}
%s
functions = [f for f in vars(probe).values() if hasattr(f, "stats")]
result["hits"] = sum(f.stats.cache_hits.total() for f in functions)
result["misses"] = sum(f.stats.cache_misses.total() for f in functions)
print(json.dumps(result))
"""

TOTAL = REPORT % "result['total'] = probe.total(values)"


COMPILING = {"cache.py", "compiling.py", "compilers.py", "contexts.py", "apart.py", "libraries.py"}
COMPILING.add("emitting")


@pytest.fixture
def package(tmp_path):
    """A copy of the compiling layer with two files of kernels, nothing cached."""
    package = copy_package(tmp_path / "site")
    kernels = package / "kernels"
    for path in package.iterdir():
        if path != kernels:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    runtime = kernels / "runtime"
    for path in [*kernels.iterdir(), *runtime.iterdir()]:
        if path != runtime and path.name not in COMPILING:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in (package, kernels, runtime):
        (folder / "__init__.py").touch()
    (kernels / "helper.py").write_text(HELPER)
    (kernels / "probe.py").write_text(PROBE)
    return package


@pytest.fixture
def report(package, tmp_path):
    """Runs a script with that copy and returns its report."""

    def run(script=TOTAL, **environment):
        # Python's own cache would miss an edit of a source within the second that keeps its size.
        environment = {
            "NUMBA_CACHE_DIR": tmp_path / "cache",
            "PYTHONDONTWRITEBYTECODE": 1,
            **environment,
        }
        return json.loads(run_script(script, path=package.parent, **environment))

    return run


def entries(folder):
    return sorted(folder.rglob("*.kernel"))


def test_import_is_light():
    modules = run_script("import sys, fastem; print(*sys.modules)").split()
    assert "fastem" in modules
    assert not {"numba", "sklearn", "scipy"} & set(modules)


def test_second_process_loads(report, tmp_path):
    cold, warm = report(), report()
    assert cold == {"total": 20.0, "hits": 0, "misses": 2}
    # What the kernel calls is part of it.
    assert warm == {"total": 20.0, "hits": 1, "misses": 0}
    assert len(entries(tmp_path)) == 2


def test_edited_callee_in_another_file(report, package):
    assert report()["total"] == 20.0
    helper = package / "kernels" / "helper.py"
    helper.write_text(HELPER.replace("2.0", "3.0"))
    assert report() == {"total": 30.0, "hits": 0, "misses": 2}
    helper.write_text(HELPER)
    assert report() == {"total": 20.0, "hits": 1, "misses": 0}


def test_sources_replaced_under_a_running_process(report, tmp_path):
    script = REPORT % (
        "from pathlib import Path\n"
        "helper = Path(probe.__file__).with_name('helper.py')\n"
        "helper.write_text(helper.read_text().replace('2.0', '3.0'))\n"
        "result['total'] = probe.total(values)"
    )
    assert report(script)["total"] == 20.0
    assert not entries(tmp_path)
    assert report()["total"] == 30.0


def test_damaged_entries(report, tmp_path):
    script = REPORT % (
        "result['values'] = [probe.scaled(1.0), probe.element(values, 3), probe.add_one(1),"
        " probe.add_one(1.0), probe.add_two(1)]"
    )
    expected = {"values": [2.0, 3.0, 2, 2.0, 3]}
    assert report(script) == {**expected, "hits": 0, "misses": 5}
    empty, half, flipped, longer, folder = entries(tmp_path)
    empty.write_bytes(b"")
    content = half.read_bytes()
    half.write_bytes(content[: len(content) // 2])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    longer.write_bytes(longer.read_bytes() + b"\0")
    folder.unlink()
    folder.mkdir()
    (folder / "file").touch()
    assert report(script) == {**expected, "hits": 0, "misses": 5}
    assert report(script) == {**expected, "hits": 5, "misses": 0}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes, no devices")
@pytest.mark.parametrize("kind", ["pipe", "device", "dangling link", "huge file"])
def test_what_is_no_entry_is_not_read(report, tmp_path, kind):
    assert report()["misses"] == 2
    for path in entries(tmp_path):
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        else:
            path.touch()
            os.truncate(path, 1 << 40)
    assert report() == {"total": 20.0, "hits": 0, "misses": 2}
    assert report() == {"total": 20.0, "hits": 1, "misses": 0}
    assert all(path.is_file() and not path.is_symlink() for path in entries(tmp_path))


@pytest.mark.parametrize("level", [0, 1])
def test_a_file_where_a_folder_belongs(report, tmp_path, level):
    report()
    folder = entries(tmp_path)[0].parents[level]
    shutil.rmtree(folder)
    folder.touch()
    assert report() == {"total": 20.0, "hits": 0, "misses": 2}
    assert report() == {"total": 20.0, "hits": 1, "misses": 0}


@pytest.mark.skipif(os.name == "nt", reason="no modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask(report, tmp_path, umask, mode):
    # An image's cache is filled by root and read by others.
    report(REPORT % f"import os; os.umask({umask}); probe.total(values)")
    paths = entries(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {mode}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in paths} == {0o777 & ~umask}


def test_every_source_of_a_kernel_is_in_the_key(tmp_path, monkeypatch):
    kernels = copy_package(tmp_path) / "kernels"
    monkeypatch.setattr(cache, "_SOURCES", kernels)
    digest = cache._source_digest()
    paths = sorted(kernels.rglob("*.py"))
    assert {path.parent.name for path in paths} > {"kernels", "runtime", "gaussian"}
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content + b"#")
        assert cache._source_digest() != digest, path
        path.write_bytes(content)
    assert cache._source_digest() == digest
    paths[-1].rename(paths[-1].with_name("renamed.py"))
    assert cache._source_digest() != digest


def test_nowhere_to_write(report, package, tmp_path):
    (tmp_path / "file").touch()
    (package / "kernels" / "__pycache__").touch()
    nowhere = tmp_path / "file" / "folder"
    places = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "LOCALAPPDATA": nowhere}
    for folder in (nowhere, None):
        expected = {"total": 20.0, "hits": 0, "misses": 2}
        assert report(NUMBA_CACHE_DIR=folder, **places) == expected
    assert not entries(tmp_path)


def test_places_in_order(report, package, tmp_path):
    user = tmp_path / "user"
    home = {"NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": user, "HOME": user, "LOCALAPPDATA": user}
    report(**home)
    assert len(entries(package / "kernels" / "__pycache__")) == 2
    assert not entries(user)
    report()
    assert len(entries(tmp_path / "cache")) == 2
    shutil.rmtree(package / "kernels" / "__pycache__")
    (package / "kernels" / "__pycache__").touch()
    report(**home)
    assert len(entries(user)) == 2
    assert report(**home)["hits"] == 1


def test_full_disk(report, tmp_path):
    script = REPORT % (
        "import errno, os\n"
        "def full(*_):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "os.replace = full\n"
        "result['total'] = probe.total(values)"
    )
    assert report(script)["total"] == 20.0
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_one_entry_for_each_cpu_and_option(report, tmp_path):
    script = REPORT % (
        "try:\n"
        "    probe.element(values[:2], 2)\n"
        "    result['checked'] = False\n"
        "except IndexError:\n"
        "    result['checked'] = True"
    )
    assert not report(script)["checked"]
    settings = (
        {"NUMBA_BOUNDSCHECK": 1},
        {"NUMBA_OPT": 1},
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_FEATURES": ""},
    )
    for n, setting in enumerate(settings):
        first, second = report(script, **setting), report(script, **setting)
        assert (first["hits"], second["hits"]) == (0, 1), setting
        assert first["checked"] == second["checked"] == ("NUMBA_BOUNDSCHECK" in setting)
        assert len(entries(tmp_path)) == n + 2


def test_concurrent_writers(package, tmp_path):
    script = REPORT % (
        "import sys\n"
        "result['total'] = probe.total(values.astype(sys.argv[1]))\n"
        "result['common'] = probe.total(values)"
    )
    dtypes = ("float32", "int64", "int32", "int8")
    options = {"path": package.parent, "NUMBA_CACHE_DIR": tmp_path / "cache"}
    writers = [start(script, dtype, **options) for dtype in dtypes]
    for writer in writers:
        assert json.loads(finish(writer))["common"] == 20.0
    for dtype in dtypes:
        expected = {"total": 20.0, "common": 20.0, "hits": 2, "misses": 0}
        assert json.loads(run_script(script, dtype, **options)) == expected
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_loading_is_quick_and_complete(report):
    # Compiled code that needs nothing of the compiler must not wait for it to be made ready, but
    # whatever it does need must be there: LLVM ends the process if a symbol is missing.
    quick = REPORT % (
        "from numba.core.cpu import CPUContext\n"
        "calls, refresh = [], CPUContext.refresh\n"
        "CPUContext.refresh = lambda self: (calls.append(1), refresh(self))[1]\n"
        "result['total'] = probe.total(values)\n"
        "result['refreshed'] = len(calls) > 0"
    )
    assert report(quick)["refreshed"]
    assert report(quick) == {"total": 20.0, "refreshed": False, "hits": 1, "misses": 0}

    forgotten = REPORT % (
        "from fastem.kernels.runtime import cache\n"
        "cache._undefined_symbols = lambda library: ['not_yet_defined']\n"
        "result['sum'] = probe.add_one(1)\n"
    )
    unready = quick.replace("probe.total(values)", "probe.add_one(1)")
    assert report(forgotten)["sum"] == 2
    assert report(unready) == {"total": 2, "refreshed": True, "hits": 1, "misses": 0}

    symbols = REPORT % (
        "result['solved'] = probe.many_symbols(np.eye(5) * 2, values)\n"
        "try:\n"
        "    probe.many_symbols(np.eye(5), values[:3].copy())\n"
        "except ValueError as error:\n"
        "    result['error'] = str(error)\n"
    )
    expected = {"solved": 8.0, "error": "the shapes differ"}
    assert report(symbols) == {**expected, "hits": 0, "misses": 1}
    assert report(symbols) == {**expected, "hits": 1, "misses": 0}


def test_closures(report):
    script = REPORT % (
        "result['values'] = [f(10) for f in (probe.add_one, probe.add_two,"
        " probe.apply_one, probe.apply_two)]"
    )
    assert report(script)["values"] == [11, 12, 11, 12]
    warm = report(script)
    assert warm["values"] == [11, 12, 11, 12]
    assert warm["hits"] == 4


def test_functions_outside_the_package(report, tmp_path):
    # Their sources are not in the key.
    module = tmp_path / "outside.py"
    module.write_text(
        "from fastem.kernels.runtime.compiling import kernel\n"
        "from fastem.kernels import probe\n"
        "@kernel\n"
        "def outside(value):\n"
        "    return value + 1\n"
        "applied = probe.applier(outside)\n"
    )
    script = REPORT % (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport outside\n"
        "result['values'] = [outside.outside(1), outside.applied(1)]"
    )
    assert report(script)["values"] == [2, 2]
    assert not entries(tmp_path / "cache")
    module.write_text(module.read_text().replace("+ 1", "+ 2"))
    assert report(script)["values"] == [3, 3]


def test_called_from_users_compiled_code(report, tmp_path):
    (tmp_path / "user.py").write_text(
        "from numba import njit, prange\n"
        "from fastem.kernels.probe import total\n"
        "@njit\n"
        "def plain(values):\n"
        "    return total(values) + 1\n"
        "@njit(cache=True)\n"
        "def cached(values):\n"
        "    return total(values) + 2\n"
        "@njit(parallel=True)\n"
        "def parallel(values):\n"
        "    result = values.copy()\n"
        "    for i in prange(values.shape[0]):\n"
        "        result[i] = total(values[i:])\n"
        "    return result\n"
    )
    script = REPORT % (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport user\n"
        "result['scalars'] = [user.plain(values), user.cached(values)]\n"
        "result['array'] = user.parallel(values).tolist()\n"
        "result['own'] = probe.total(values)"
    )
    expected = {"scalars": [21.0, 22.0], "array": [20.0, 20.0, 18.0, 14.0, 8.0], "own": 20.0}
    for hits in (0, 1):
        result = report(script)
        assert {name: result[name] for name in expected} == expected
        assert (result["hits"], result["misses"]) == ((0, 2) if hits == 0 else (1, 0))


def test_old_versions_are_dropped(report, package, tmp_path):
    report()
    generation = entries(tmp_path)[0].parent
    for age in range(1, 7):
        old = generation.with_name(f"old{age}")
        shutil.copytree(generation, old)
        os.utime(old, (10**9 - age, 10**9 - age))
    (package / "kernels" / "helper.py").write_text(HELPER.replace("2.0", "3.0"))
    assert report()["total"] == 30.0
    kept = {path.name for path in generation.parent.iterdir()}
    assert len(kept) == 4
    assert kept >= {generation.name, "old1", "old2"}
    assert report()["hits"] == 1


def test_numba_with_other_insides(report, tmp_path):
    # The cache can't be imported, or can't store what it always did.
    changes = (
        "sys.modules['fastem.kernels.runtime.cache'] = None",
        "from numba.core import compiler; del compiler.CompileResult._reduce",
    )
    for change in changes:
        script = (
            f"import sys, warnings\n{change}\n"
            "with warnings.catch_warnings(record=True) as said:\n"
            "    warnings.simplefilter('always')\n"
            + textwrap.indent(
                REPORT % "result['total'] = probe.total(values)\n"
                "result['said'] = [w.category.__name__ for w in said]\n"
                "result['text'] = str(said[0].message)",
                "    ",
            )
        )
        result = report(script)
        assert result["total"] == 20.0, change
        assert result["said"] == ["RuntimeWarning"], change
        assert "compiles them in each process" in result["text"]
        assert not entries(tmp_path)


def test_numba_without_a_place_for_a_cache(monkeypatch):
    monkeypatch.setattr(numba, "njit", lambda **_: lambda function: function)
    cache.say_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="no place for another cache"):
        kernel(lambda value: value)


def test_inline_from_python():
    @inline
    def twice(value):
        return 2 * value

    @kernel
    def four_times(value):
        return twice(twice(value))

    assert twice(3) == 6
    assert four_times(3) == 12


def test_options():
    @kernel
    def divide(values, divisor):
        return values[0] / divisor, np.isnan(values[1]), np.isinf(values[2])

    values = np.array([1.0, np.nan, -np.inf])
    assert divide(values, 0.0) == (np.inf, True, True)
