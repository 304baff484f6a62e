"""The progress bar."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(total: float) -> Iterator[Progress]:
    """Show a bar on the terminal's error stream, and print above it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    # Drawn from time to time only: nothing shall run beside what is timed.
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, auto_refresh=False, redirect_stdout=True) as bar:
        bar.add_task("", total=total)
        yield bar
