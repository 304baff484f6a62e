"""Fill the cache of compiled kernels: for a container's image, a cluster, a machine's first use."""

import multiprocessing
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from fastem.commands import recipes
from fastem.commands.recipes import Recipe


def add_options(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        choices=recipes.MODELS,
        default=list(recipes.MODELS),
        help=f"of {', '.join(recipes.MODELS)}; all by default",
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        metavar="DTYPE",
        choices=recipes.DTYPES,
        default=list(recipes.DTYPES),
        help=f"of {', '.join(recipes.DTYPES)}; both by default",
    )
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="processes; by default as many as CPUs"
    )
    parser.add_argument(
        "--cpu",
        metavar="NAME",
        help="compile for another CPU, by LLVM's name; what uses these kernels must be started "
        "with NUMBA_CPU_NAME and NUMBA_CPU_FEATURES as this command prints them",
    )
    parser.add_argument(
        "--cpu-features",
        metavar="FEATURES",
        help="the instructions that the other CPU has, such as +avx2,+fma; none by default",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run(arguments: Namespace) -> None:
    """Compile, and say where to."""
    if arguments.cpu is None and arguments.cpu_features is not None:
        sys.exit("--cpu-features needs --cpu")
    if arguments.cpu is not None:
        _aim_at(arguments.cpu, arguments.cpu_features or "")
    jobs = arguments.jobs or os.cpu_count() or 1
    chosen = recipes.recipes(arguments.models, arguments.dtypes)
    begin = time.perf_counter()
    # New processes, in which Numba reads the environment anew; each compiles what it calls.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(chosen)), context) as pool:
        futures = {pool.submit(recipes.follow, recipe): recipe for recipe in chosen}
        try:
            for future in _shown(as_completed(futures), futures):
                future.result()
        except BrokenProcessPool:
            sys.exit(_broken(arguments.cpu))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"compiled in {time.perf_counter() - begin:.0f} s")
    _say_where()


def _aim_at(cpu: str, features: str) -> None:
    """Have the processes that follow compile for another CPU."""
    os.environ.update(NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)
    print(f"for processes with NUMBA_CPU_NAME={cpu} NUMBA_CPU_FEATURES={features}")


def _shown(done: Iterable[Future], futures: dict[Future, Recipe]) -> Iterator[Future]:
    """The futures as they end: behind a progress bar where rich can draw one, else line by line."""
    with suppress(ImportError):
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        if console.is_terminal:
            yield from track(done, "Compiling", len(futures), console=console)
            return
    for number, future in enumerate(done, 1):
        print(f"{number} of {len(futures)}: {futures[future]}", flush=True)
        yield future


def _broken(cpu: str | None) -> str:
    if cpu is None:
        return "A process that compiled was ended from outside, perhaps for want of memory."
    return (
        f"A process ended: this machine can't run what is compiled for {cpu}. "
        "Compile on a machine that can."
    )


def _say_where() -> None:
    """Print the folder in which the kernels lie."""
    from fastem.commands.info import cache_lines

    print(*cache_lines(), sep="\n")
