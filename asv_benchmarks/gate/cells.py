"""The cells that are compared: the timed benchmarks of airspeed velocity, by name."""

import importlib
import inspect
import itertools
import pkgutil
from typing import NamedTuple

from asv_benchmarks import benchmarks


class Cell(NamedTuple):
    """A timed method of a benchmark class, and values of its parameters."""

    benchmark: type
    method: str
    values: tuple

    @property
    def name(self) -> str:
        """The name, much as airspeed velocity shows it."""
        module = self.benchmark.__module__.rpartition(".")[2]
        values = f"({', '.join(map(str, self.values))})" if self.values else ""
        return f"{module}.{self.benchmark.__name__}.{self.method}{values}"

    def prepare(self):
        """Set the benchmark up and return the function to time, without arguments."""
        benchmark = self.benchmark()
        if hasattr(benchmark, "setup"):
            benchmark.setup(*self.values)
        method = getattr(benchmark, self.method)
        return lambda: method(*self.values)


def find_cells() -> dict[str, Cell]:
    """Return all cells but those that take minutes (`...Full`), by name."""
    cells = []
    for info in pkgutil.iter_modules(benchmarks.__path__):
        module = importlib.import_module(f"{benchmarks.__name__}.{info.name}")
        for name, benchmark in inspect.getmembers(module, inspect.isclass):
            if benchmark.__module__ == module.__name__ and _is_tracked(name):
                cells += _cells_of(benchmark)
    return {cell.name: cell for cell in cells}


def _is_tracked(name):
    return not name.startswith("_") and not name.endswith("Full")


def _cells_of(benchmark):
    params = getattr(benchmark, "params", ())
    if params and not isinstance(params[0], (list, tuple)):
        params = (params,)  # of a single parameter, as airspeed velocity takes it
    methods = [name for name in dir(benchmark) if name.startswith("time_")]
    return [
        Cell(benchmark, method, values)
        for method in methods
        for values in itertools.product(*params)
    ]
