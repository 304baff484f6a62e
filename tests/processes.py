"""Runs Python scripts in processes of their own, and lets Ctrl-C reach this one."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import fastem

PACKAGE = Path(fastem.__file__).resolve().parent

# The beginning of a script: the names of what Numba compiles from there on are in ``compiled``,
# and those of their modules in ``modules``.
LISTEN = """
from numba.core import event

compiled, modules = [], []


class Listener(event.Listener):
    def on_start(self, found):
        function = found.data["dispatcher"].py_func
        compiled.append(function.__qualname__)
        modules.append(function.__module__)

    def on_end(self, found):
        pass


event.register("numba:compile", Listener())
"""


def copy_package(folder):
    """Copy fastem without its caches into a folder; returns the package's folder."""
    return Path(
        shutil.copytree(
            PACKAGE, Path(folder) / "fastem", ignore=shutil.ignore_patterns("__pycache__")
        )
    )


def start(script, *arguments, path=None, **environment):
    """Start a script; ``path`` is the folder that holds the fastem to import."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")
    }
    variables.pop("NUMBA_NUM_THREADS", None)
    path = str(path or PACKAGE.parent)
    variables["PYTHONPATH"] = path
    for name, value in environment.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = str(value)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=path,  # which comes first on its sys.path
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=100):
    """Wait for a started script and return what it printed; fails if it does."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"the script hangs\n{output}\n{errors}") from None
    assert process.returncode == 0, f"exit code {process.returncode}\n{output}\n{errors}"
    return output


def run_script(script, *arguments, path=None, **environment):
    """Run a script and return what it printed."""
    return finish(start(script, *arguments, path=path, **environment))


@contextmanager
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, which a shell that starts us in the background prevents."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
