"""The speed of the other libraries' BLAS: nothing from outside may slow it down.

OpenBLAS, in the wheels of NumPy, SciPy (scikit-learn's), FAISS and mlpack, chooses its code by the
CPU, unless one of the variables below says otherwise; some servers set them to an older CPU's, with
which a matrix product takes twice as long. It reads them when it is loaded.
"""

import contextlib
import importlib
import os
from pathlib import PurePath

from threadpoolctl import threadpool_info

LIMITS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_USERS = ("numpy", "scipy.linalg", "faiss", "mlpack")


def remove_limits() -> None:
    """Let OpenBLAS choose, in this process and those that it starts: before NumPy is imported."""
    for name in LIMITS:
        os.environ.pop(name, None)


def choose(code: str) -> None:
    """Have the libraries that aren't loaded yet, FAISS and mlpack, take this code of OpenBLAS.

    For a CPU that came after the OpenBLAS in their wheels, which takes the oldest code there: on a
    Zen 5 FAISS took four times as long with *Barcelona* as with *SkylakeX*, which NumPy's takes.

    Raises
    ------
    ValueError
        If one of them takes another, as of names that it doesn't know.
    """
    loaded = _chosen(())
    os.environ[LIMITS[0]] = code
    for user, taken in _chosen(_USERS).items():
        if user not in loaded and taken.lower() != code.lower():
            raise ValueError(f"OpenBLAS has no code {code!r} in {user}, which takes {taken}")


def kernels() -> str:
    """Return the code that each library's BLAS has chosen: ``faiss Zen, numpy SkylakeX``."""
    chosen = _chosen(_USERS)
    return ", ".join(f"{user} {chosen[user]}" for user in sorted(chosen))


def _chosen(names):
    """What code each loaded library's BLAS has chosen, once these are loaded."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return {
        _user(library["filepath"]): library["architecture"]
        for library in threadpool_info()
        if "architecture" in library
    }


def _user(path: str) -> str:
    """Return whose library a file is: wheels keep theirs in a folder such as ``numpy.libs``."""
    path = PurePath(path)
    wheels = [part.removesuffix(".libs") for part in path.parts if part.endswith(".libs")]
    return wheels[0].removesuffix("_cpu") if wheels else path.name
