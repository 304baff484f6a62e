"""Fill the cache of compiled kernels: for a container's image, a cluster, a machine's first use."""

import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import numba
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from fastem.commands import recipes
from fastem.commands.info import cache_lines, can_be_written
from fastem.commands.recipes import Recipe
from fastem.kernels.runtime import compiling


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
        "--jobs", type=_number_of_jobs, metavar="N", help="processes; by default as many as CPUs"
    )
    parser.add_argument(
        "--cpu",
        type=_cpu_name,
        metavar="NAME",
        help="compile for another CPU, by LLVM's name ('help' prints all); what uses these kernels "
        "must be started with NUMBA_CPU_NAME and NUMBA_CPU_FEATURES as this command prints them",
    )
    parser.add_argument(
        "--cpu-features",
        type=_features,
        metavar="FEATURES",
        help="the instructions that the other CPU has, such as +avx,+avx2,+fma; none by default",
    )


def _number_of_jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _cpu_name(text: str) -> str:
    if not text:
        raise ArgumentTypeError("must be a name")
    return text


def _features(text: str) -> str:
    for feature in text.split(",") if text else []:
        if not re.fullmatch(r"[+-](?!help$)[\w.-]+", feature):
            raise ArgumentTypeError(
                "must be names behind + or -, with commas in between and no spaces, such as "
                f"+avx,+avx2,+fma; not {feature!r}"
            )
    return text


def run(arguments: Namespace) -> None:
    """Compile, and say where to."""
    if arguments.cpu is None and arguments.cpu_features is not None:
        sys.exit("--cpu-features needs --cpu")
    if arguments.cpu == "help":
        print(_ask_llvm("help", "").stderr.partition("Available features")[0].strip())
        return
    if arguments.cpu is None:
        cpu, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
        if features is None:  # Numba takes this machine's for whatever CPU
            features = get_host_cpu_features().flatten()
    else:
        cpu, features = arguments.cpu, arguments.cpu_features or ""
    _check_cpu(cpu or get_host_cpu_name(), features)
    if arguments.cpu is not None:
        _aim_at(cpu, features)
    _check_numba_and_folders()
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
            sys.exit(_broken(cpu))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"compiled in {time.perf_counter() - begin:.0f} s")
    _say_where()


def _aim_at(cpu: str, features: str) -> None:
    """Have the processes that follow compile for another CPU."""
    os.environ.update(NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)
    print(f"for processes with NUMBA_CPU_NAME={cpu} NUMBA_CPU_FEATURES={features}")


# LLVM has no list to ask: it says so itself, by printing, and goes on.
_ASK_LLVM = """
import sys
from llvmlite import binding
for begin in (binding.initialize_native_target, binding.initialize_native_asmprinter):
    begin()
target = binding.Target.from_default_triple()
machine = target.create_target_machine(cpu=sys.argv[1], features=sys.argv[2])
function = "define double @f(double %x) { %y = fadd double %x, %x ret double %y }"
machine.emit_object(binding.parse_assembly(function))
"""


def _ask_llvm(cpu: str, features: str) -> subprocess.CompletedProcess:
    asked = [sys.executable, "-c", _ASK_LLVM, cpu, features]
    return subprocess.run(asked, capture_output=True, text=True)


def _check_cpu(cpu: str, features: str) -> None:
    """End the process if LLVM doesn't know these, which it takes for others then."""
    done = _ask_llvm(cpu, features)
    said = done.stderr
    found = re.findall(r"'(.*)' is not a recognized (processor|feature)", said)
    kinds = {"processor": "CPU", "feature": "feature"}
    unknown = [f"the {kinds[kind]} {name!r}" for name, kind in dict.fromkeys(found)]
    if unknown:
        sys.exit(f"LLVM doesn't know {' and '.join(unknown)} of {platform.machine()}")
    if done.returncode:  # it has ended the process
        why = re.findall(r"LLVM ERROR: (.*)", said)
        sys.exit(f"LLVM can't compile for {cpu}: {why[0] if why else said}")


def _check_numba_and_folders() -> None:
    """End the process if nothing could be compiled and kept."""
    if numba.config.DISABLE_JIT:
        sys.exit("Nothing can be compiled: NUMBA_DISABLE_JIT is set")
    if compiling.cache is None:
        sys.exit(f"Kernels can't be kept: the cache doesn't know Numba {numba.__version__}")
    folders = compiling.cache.entry_folders()
    if not any(can_be_written(folder) for folder in folders):
        sys.exit(
            "Kernels can't be kept: none of these folders can be written. Set NUMBA_CACHE_DIR to "
            f"one that can.\n{chr(10).join(map(str, folders))}"
        )


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
        f"A process ended: LLVM can't compile for {cpu} with these features, or this machine can't "
        "run it. Compile on a machine that can."
    )


def _say_where() -> None:
    """Print the folder in which the kernels lie."""
    print(*cache_lines(), sep="\n")
