"""What the loop asks of a model, and what it tells it: steps and runs."""

from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One iteration.

    Parameters
    ----------
    number : int
        Counts from 0.
    statistics : object
        What the E-step returned.
    parameters, updated : object
        Before and after the M-step.
    objective : float
        Of ``parameters``.
    previous : float or None
        The objective one iteration before.
    """

    number: int
    statistics: Any
    parameters: Any
    updated: Any
    objective: float
    previous: float | None


@dataclass
class Run:
    """One run from one start.

    Parameters
    ----------
    parameters : object
        After the last M-step.
    history : list of float
        The objective that each iteration began with.
    converged : bool or str
        Whether the iterations ended by themselves; a model may give the reason.
    objective : float
        Of ``parameters``, as far as the model's ``finish`` knows.
    statistics : object
        What the last E-step returned.
    stopped : bool
        Whether a watcher ended the iterations.
    """

    parameters: Any
    history: list[float]
    converged: bool | str
    objective: float
    statistics: Any
    stopped: bool = False

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.history)


class Until(NamedTuple):
    """How long iterations go on.

    Parameters
    ----------
    tol : float
        They have settled when they gain less
    fall : float
        and lose less.
    most : int
        There are no more.
    best : float or None
        The objective to become better than, if there is one.
    hopeless : float
        They end when it is ahead by more than so many times what the last one has gained.
    before : float
        The objective that the first one's is a gain over.
    """

    tol: float
    fall: float
    most: int
    best: float | None = None
    hopeless: float = inf
    before: float = -inf


class Model:
    """What the loop asks of a model: derive from it and write ``start``, ``e_step``, ``m_step``.

    The defaults of the other methods suit a log-likelihood: the statistics have an attribute
    ``objective`` that grows, and a run has converged once it changes by less than ``tol``.
    """

    tol: float = 1e-3
    #: Whether a fit without convergence warns.
    warns: bool = True

    @property
    def plain(self) -> "Model":
        """The model that takes EM's own steps."""
        return self

    def begin(self, rows: Any) -> None:
        """Forget the run before: another one begins."""

    def start(self, rows: Any, random_state: Any) -> Any:
        """The parameters that a run starts from."""
        raise NotImplementedError

    def e_step(self, rows: Any, parameters: Any) -> Any:
        """Additive statistics of all rows, usually ``rows.reduce(step, parameters)``."""
        raise NotImplementedError

    def m_step(self, rows: Any, statistics: Any, parameters: Any) -> Any:
        """The next parameters. Most models need only the statistics."""
        raise NotImplementedError

    def iterated(
        self, rows: Any, parameters: Any, most: int, previous: float | None
    ) -> tuple[Any, Any, list[float]] | None:
        """Several iterations at once, where that can be; asked for one by one if somebody watches.

        Parameters
        ----------
        rows, parameters : object
        most : int
            Iterations, at the most.
        previous : float or None
            The objective one iteration before.

        Returns
        -------
        parameters : object
            After the last M-step.
        statistics : object
            What the last E-step returned.
        history : list of float
            The objective that each iteration began with. Only after the last one has the run
            converged.
        """
        return None

    def objective(self, statistics: Any, parameters: Any) -> float:
        """The objective of the parameters that led to the statistics."""
        return statistics.objective

    def converged(self, step: Step) -> bool | str:
        """Whether this iteration was the last one needed."""
        return step.previous is not None and abs(step.objective - step.previous) < self.tol

    def finish(self, rows: Any, run: Run) -> None:
        """Complete a run whose iterations have ended, say by a last E-step."""

    def better(self, rows: Any, run: Run, best: Run) -> bool:
        """Whether a run shall replace the best one so far."""
        return run.objective > best.objective

    def revisit(self, rows: Any, run: Run) -> None:
        """See that the rows hold again what they held when this run ended."""

    def keep(self, rows: Any) -> None:
        """Set aside what the rows hold of the run just ended: it is the best so far."""

    def report_start(self, number: int) -> None:
        """Print that a run has its start (with ``verbose``)."""
        print(f"Initialization {number}")

    def report(self, step: Step) -> None:
        """Print an iteration (with ``verbose``)."""
        print(f"  Iteration {step.number}, objective {step.objective}")

    def report_end(self, run: Run) -> None:
        """Print how a run's iterations ended (with ``verbose``)."""
        if run.converged:
            print("Initialization converged.")
        else:
            print("Initialization did not converge.")
