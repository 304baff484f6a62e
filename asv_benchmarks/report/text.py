"""How figures are written, in text and in Markdown."""

import math
import statistics
from collections.abc import Iterable, Sequence

BUSY = 0.05  # the share of the machine taken by other processes above which a time is marked by ~


def seconds(value: float, busy: bool = False) -> str:
    """Return a time with three digits, marked if others kept the machine busy."""
    unit, factor = ("s", 1) if value >= 0.1 else ("ms", 1000)
    return f"{digits(value * factor)} {unit}" + "~" * busy


def digits(value: float, count: int = 3) -> str:
    """Return a positive number with three digits, and without an exponent."""
    places = max(0, count - 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{places}f}"


def times(ratio: float) -> str:
    """Return how many times as fast something is, with two digits or all before the point."""
    return digits(ratio, 2)


def of_ratios(name: str, ratios: dict[str, float]) -> str:
    """Return the geometric mean and the worst of some cells' ratios, by their labels."""
    worst = min(ratios, key=ratios.__getitem__)
    cells = f"{len(ratios)} cells" if len(ratios) > 1 else "one cell"
    return (
        f"{name}: geometric mean {statistics.geometric_mean(ratios.values()):.2f}× over {cells}, "
        f"worst {ratios[worst]:.2f}× ({worst})"
    )


def mean_and_worst(ratios: Sequence[float]) -> list[str]:
    """Return how many ratios there are, their geometric mean and the least, for a table."""
    if not ratios:
        return ["", "", ""]
    return [str(len(ratios)), f"**{times(statistics.geometric_mean(ratios))}**", times(min(ratios))]


def markdown(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; each column has a head and an alignment, "left" or "right"."""
    rules = {"left": "---", "right": "---:"}
    lines = [[head for head, _ in columns], [rules[align] for _, align in columns], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe(machine: dict[str, str]) -> str:
    """Return the line that names machine, versions, BLAS and date."""
    return f"{_undated(machine)}; {machine['date']}"


def _undated(machine):
    threads = "1 thread" if str(machine["threads"]) == "1" else f"{machine['threads']} threads"
    return (
        f"{machine['cpu']}, {machine['system']}, {threads} of {machine['cpus']} CPUs; "
        f"{machine['versions']}; code of OpenBLAS: {machine['blas']}"
    )


def describe_all(machines: Iterable[dict[str, str]]) -> str:
    """Return what names each machine, once, with all dates."""
    dates: dict[str, set[str]] = {}
    for machine in machines:
        dates.setdefault(_undated(machine), set()).add(machine["date"])
    return "; and on ".join(f"{line}; {', '.join(sorted(days))}" for line, days in dates.items())


def span(counts: Iterable[int]) -> str:
    """Return the least and the greatest count: "3", or "3 to 50"."""
    counts = list(counts)
    least, greatest = min(counts), max(counts)
    return f"{least}" if least == greatest else f"{least} to {greatest}"
