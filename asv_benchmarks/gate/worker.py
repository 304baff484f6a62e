"""One side's process: runs cells with the fastem of a given folder, as told line by line.

Started as a script with two folders: that of the ``fastem`` to time, and that of the benchmarks.
Each request on its standard input, and each answer on its standard output, is a line of JSON.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path


def main(package_folder: str, benchmarks_folder: str) -> None:
    """Answer requests until there are no more."""
    sys.path[:1] = [package_folder, benchmarks_folder]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed

    import fastem

    if not Path(fastem.__file__).is_relative_to(package_folder):
        raise SystemExit(f"{fastem.__file__} is not from {package_folder}")
    from asv_benchmarks.gate.cells import find_cells

    cells, run = find_cells(), None
    for line in sys.stdin:
        request, argument = json.loads(line)
        try:
            if request == "prepare":
                run = None  # the former cell's data
                run = cells[argument].prepare()
                seconds(run, 1)
                answer = seconds(run, 1)
            else:
                answer = seconds(run, argument)
        except Exception as error:  # this side may not have what is measured
            answer = f"{type(error).__name__}: {error}"
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def seconds(run, number: int) -> float:
    """Return the time of a call, the mean of so many."""
    gc.collect()
    gc.disable()
    begin = time.perf_counter()
    for _ in range(number):
        run()
    taken = time.perf_counter() - begin
    gc.enable()
    return taken / number


if __name__ == "__main__":
    main(*sys.argv[1:])
