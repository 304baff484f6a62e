"""Compare the speed of the working tree with that of a base: `python -m asv_benchmarks.gate`.

Runs the chosen benchmarks with both, in alternation, and tells what is slower beyond the noise that
it measures meanwhile. What seems slower is measured again in new processes, twice, and has to be
slower there, too. The exit code is 1 if something is slower, or fails where the base did not.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from .cells import find_cells
from .paired import MIN_ROUNDS, Comparison, compare
from .sides import ROOT, CellFails, Worker, package_at

# Every model and every public kernel.
TRACKED = (
    r"kernels\.Kernels\..*many features, float64",
    r"fits\.Fits\..*20k,16,32",
    r"fits\.Iterations\..*5k,128,16, float64",
    r"predict\.Predict\..*float64",
    r"kmeans_fit\.KMeansFit\..*(16,64|784,10)",
    r"seeding\.Starts",
    r"small\.SmallKMeans",
    r"silhouette\..*float64",
)


# A process may be slower than another throughout, by where its arrays happen to lie in memory.
CONFIRMATIONS = 2


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse(argv)
    names = [name for name in find_cells() if any(re.search(p, name) for p in options.cells)]
    if not names:
        raise SystemExit(f"no benchmark matches {' '.join(options.cells)}")
    if options.list:
        print(*names, sep="\n")
        return 0
    folder = package_at(options.base)
    print(f"{len(names)} benchmarks, {options.base} against the working tree\n\n{HEAD}", flush=True)
    with workers(folder) as sides:
        slower, failed = measure(names, sides, options)
    for _ in range(CONFIRMATIONS):
        if slower:
            print("\nAgain, in new processes:", flush=True)
            with workers(folder) as sides:
                slower, _ = measure(slower, sides, options)
    print()
    for name in failed:
        print(f"FAILS: {name}")
    for name in slower:
        print(f"SLOWER: {name}")
    if not slower and not failed:
        print(f"Nothing is slower by more than {options.threshold:.0%} beyond the noise.")
    return 1 if slower or failed else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m asv_benchmarks.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--base", default="main", metavar="REVISION", help="what to compare with (default: main)")
    add("--cells", nargs="+", default=TRACKED, metavar="REGEX", help="benchmarks, as --list shows")
    add("--list", action="store_true", help="show the chosen benchmarks' names; measure nothing")
    add("--repeats", type=int, help=f"rounds of each (default: as time allows, {MIN_ROUNDS} to 41)")
    add("--threshold", type=float, default=0.05, help="bearable slow-down (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.repeats is not None and options.repeats < MIN_ROUNDS:
        parser.error(f"--repeats must be at least {MIN_ROUNDS}: fewer tell nothing from noise")
    return options


@contextmanager
def workers(base_folder) -> Iterator[list[Worker]]:
    """Start processes for base, change and base again, and end them."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(closing(Worker(folder)))
            for folder in (base_folder, ROOT, base_folder)
        ]


def measure(names, sides, options) -> tuple[list[str], list[str]]:
    """Compare cells, printing each; return the names of those that are slower, and that fail."""
    slower, failed = [], []
    for name in names:
        try:
            found = compare(name, *sides, repeats=options.repeats)
        except CellFails as error:
            verdict = "fails" if runs(sides[0], name) else "not in the base"
            print(f"{name}: {verdict} ({error})", flush=True)
            if verdict == "fails":
                failed.append(name)
            continue
        verdict = found.verdict(options.threshold)
        print(line(name, found, verdict), flush=True)
        if verdict == "slower":
            slower.append(name)
    return slower, failed


def runs(side: Worker, name: str) -> bool:
    """Return whether a side can run a cell."""
    try:
        side.prepare(name)
    except CellFails:
        return False
    return True


HEAD = "    before      after  ratio (99 % interval)  noise  verdict  benchmark"


def line(name: str, found: Comparison, verdict: str) -> str:
    """Return a cell's line of the table."""
    ratio = f"{found.ratio.middle:.3f} ({found.ratio.low:.3f} to {found.ratio.high:.3f})"
    return (
        f"{1e3 * found.before:7.3g} ms {1e3 * found.after:7.3g} ms  {ratio:<22}"
        f"{found.noise - 1:6.1%}  {verdict:<7}  {name}"
    )


if __name__ == "__main__":
    sys.exit(main())
