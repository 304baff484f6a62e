"""Rows on the workers of a Dask cluster."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4

import dask.array as da
import numpy as np
from distributed import CancelledError, Client, Future, wait
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from fastem.rows.dask.holders import (
    Answer,
    Asked,
    Behind,
    Call,
    Holder,
    ask_directly,
    ask_holders,
    collect_from,
    fill_block,
)
from fastem.rows.home import Rows

# A result that so many rounds of repairs haven't brought is given up.
_MOST_ROUNDS = 30
# Seconds of waiting after which the workers are looked at, and how often none of them may be fit to
# compute until a fit is given up.
_PATIENCE, _MOST_LOOKS = 10, 6


class Blocks(NamedTuple):
    """The blocks that have rows, as they are on a cluster.

    Parameters
    ----------
    rows : list of Future
        Of rows as the kernels take them, or of functions that read these.
    weights : list of (Future or None)
    lengths : list of int
    numbers : list of int
        Which block of the collection each is.
    n_blocks : int
        Of the collection, with those that have no rows.
    """

    rows: list[Future]
    weights: list[Any]
    lengths: list[int]
    numbers: list[int]
    n_blocks: int


class ClusterRows(Rows):
    """Rows on the workers of a Dask cluster, which send no more than what steps return.

    Steps are made by one task for each worker, in which each part has its own result: these are
    added in the parts' order, so that it doesn't matter where the parts are. What a part keeps is
    made again if its worker is lost, by the calls that the client has logged.

    Parameters
    ----------
    client : distributed.Client
    blocks : Blocks
    n_features : int
    dtype : dtype
    sparse : bool
    """

    def __init__(
        self, client: Client, blocks: Blocks, n_features: int, dtype: np.dtype, sparse: bool
    ):
        self.n_rows = sum(blocks.lengths)
        self.n_features = n_features
        self.n_parts = len(blocks.rows)
        self.dtype = dtype
        self.sparse = sparse
        self.weighted = bool(blocks.weights) and blocks.weights[0] is not None
        self._crew = Crew(client, blocks, 0)
        self._factor = 1.0

    def each(self, step: Callable, *args: Any) -> Iterator[Any]:
        return iter(self._crew.call(Call(step, args, self._factor)))

    def collect(self, step: Callable, *args: Any) -> Any:
        return self._crew.collect(Call(step, args, self._factor))

    def fresh(self, exponent: int = 0) -> "ClusterRows":
        return self._with(_crew=self._crew.fresh(exponent))

    def scaled(self, factor: float) -> "ClusterRows":
        return self if factor == 1.0 else self._with(_factor=self._factor * factor)

    def filled(self, values: np.ndarray) -> "ClusterRows":
        return self._with(_crew=self._crew.filled(values))

    def _with(self, **changed):
        rows = object.__new__(ClusterRows)
        vars(rows).update(vars(self), **changed)
        return rows


class Crew:
    """The holders of all parts, and the log of the calls that they have been asked for.

    Holders are asked by tasks at first, and whenever something is missing: those depend on the
    holders and their rows, so that Dask makes again what is lost. In between all workers are asked
    directly, whose holders answer at once: some five times sooner.
    """

    def __init__(self, client: Client, blocks: Blocks, exponent: int):
        self._client = client
        self._blocks = blocks
        self._exponent = exponent
        self._name = uuid4().hex
        self._places = {number: place for place, number in enumerate(blocks.numbers)}
        self._holders: list[Future] = []
        self._workers: list[str] = []
        self._log: list[Call] = []
        self._n_forgotten = 0  # calls before the log, which have left no trace

    def fresh(self, exponent: int) -> "Crew":
        """New holders of the same rows."""
        return Crew(self._client, self._blocks, self._exponent + exponent)

    def filled(self, values: np.ndarray) -> "Crew":
        """New holders of the rows with these values of the columns in place of NaN."""
        rows = [
            self._client.submit(fill_block, block, values, pure=False)
            for block in self._blocks.rows
        ]
        return Crew(self._client, self._blocks._replace(rows=rows), self._exponent)

    def call(self, call: Call) -> list:
        """The call's results, one for each part."""
        self._log.append(call)
        with self._at_work():
            answers = self._ask()
        if not any(answer.keeps for answer in answers):
            self._n_forgotten += len(self._log)
            self._log.clear()
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        return [answer.value for answer in answers]

    def collect(self, call: Call) -> Any:
        """The call's results, as the chunks of a Dask array on the workers.

        Its tasks know all calls: so they can be made again after this object is gone.
        """
        self._log.append(call)
        client, blocks = self._client, self._blocks
        with self._at_work():
            if not self._holders:
                self._place()
            asked = client.submit(_itself, self._asked(0), pure=False)
            chunks = [
                self._submit(place, collect_from, self._holders[place], asked, X, weight)
                for place, (X, weight) in enumerate(zip(*blocks[:2], strict=True))
            ]
            finish(client, chunks)
            (like,) = finish(client, [client.submit(_like, chunks[0], pure=False)])
        arrays = [da.from_array(like)] * blocks.n_blocks
        for number, chunk, length in zip(blocks.numbers, chunks, blocks.lengths, strict=True):
            arrays[number] = da.from_delayed(chunk, (length, *like.shape[1:]), meta=like)
        return da.concatenate(arrays)

    @contextmanager
    def _at_work(self):
        """Leaves no tasks behind if a call fails or is interrupted."""
        try:
            with told_plainly(self._client):
                yield
        except BaseException:
            with suppress(Exception):  # a closed client has none
                self._client.cancel(self._holders, force=True)
            raise

    def _asked(self, n_known):
        calls = self._log[max(n_known - self._n_forgotten, 0) :]
        number = self._n_forgotten + len(self._log) - 1
        return Asked(list(calls), number, len(calls) == len(self._log))

    def _ask(self):
        """Answers to the last call of the log."""
        last = Behind(self._n_forgotten + len(self._log) - 1)
        answers: list[Answer | Behind] = [last] * len(self._blocks.rows)
        if self._holders:
            self._ask_directly(answers)
        else:
            self._place()
        for _ in range(_MOST_ROUNDS):
            behind = [place for place, answer in enumerate(answers) if isinstance(answer, Behind)]
            if not behind:
                return answers
            groups = defaultdict(list)
            for place in behind:
                groups[self._workers[place]].append(place)
            tasks = [self._ask_group(group, answers) for group in groups.values()]
            for group, found in zip(groups.values(), finish(self._client, tasks), strict=True):
                for place, answer in zip(group, found, strict=True):
                    answers[place] = answer
            missing = [place for place in behind if isinstance(answers[place], Behind)]
            if missing:
                self._place(missing)
        raise RuntimeError("The workers of the Dask cluster are lost again and again")

    def _ask_directly(self, answers):
        """Note the answers of the holders that are at hand; what fails is asked by tasks then."""
        asked = self._asked(self._n_forgotten + len(self._log) - 1)
        # All workers, since one that has gone, if it was named, would be waited for.
        found = self._client.run(ask_directly, self._name, asked, on_error="ignore")
        for number, answer in (item for here in found.values() for item in here.items()):
            place = self._places[number]
            if isinstance(answers[place], Behind):
                answers[place] = answer

    def _ask_group(self, group, answers):
        asked = self._asked(min(answers[place].n_calls for place in group))
        holders, rows, weights = (
            [values[place] for place in group]
            for values in (self._holders, self._blocks.rows, self._blocks.weights)
        )
        return self._submit(group[0], ask_holders, holders, asked, rows, weights)

    def _submit(self, place, function, *args):
        # A task that may run on this worker only would wait forever if it's gone.
        return self._client.submit(
            function, *args, workers=[self._workers[place]], allow_other_workers=True, pure=False
        )

    def _place(self, places=None):
        """See where the blocks are by now, and have new holders there; all of them at first."""
        settle(self._client, self._blocks.rows)
        homes = self._client.who_has(self._blocks.rows)
        anywhere = list(self._client.scheduler_info(n_workers=-1)["workers"])
        self._workers = [
            next(iter([*homes.get(block.key, ()), *anywhere])) for block in self._blocks.rows
        ]
        if places is None:
            places = range(len(self._workers))
            self._holders = [None] * len(self._workers)
        ends = np.cumsum([0, *self._blocks.lengths]).tolist()
        blocks = self._blocks
        for place in places:
            X, weight, length, number = (values[place] for values in blocks[:4])
            self._holders[place] = self._submit(
                place, Holder, X, weight, length, ends[place], number, self._exponent, self._name
            )


@contextmanager
def told_plainly(client: Client) -> Iterator[None]:
    """Dask's errors when tasks are gone, as one that says what may have happened."""
    if client.status != "running":
        raise RuntimeError("The Dask client of the rows is closed")
    try:
        yield
    except Exception as error:
        # A client that is closed meanwhile fails in one of many ways.
        lost = isinstance(error, (CancelledError, ClosedClientError, CommClosedError))
        if not lost and client.status == "running":
            raise
        raise RuntimeError(
            "The Dask cluster has lost the rows: its client was closed, its scheduler was started "
            "anew, or what can't be made again was on a worker that is gone"
        ) from error


def settle(client: Client, futures: list[Future]) -> None:
    """Wait for tasks, also for those given to workers that pause, unless nobody could do them.

    Raises
    ------
    RuntimeError
        If the cluster has had no worker fit to compute for a while.
    """
    n_looks = 0
    while n_looks < _MOST_LOOKS:
        try:
            wait(futures, timeout=_PATIENCE)
            return
        except TimeoutError:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            fit = any(worker.get("status", "running") == "running" for worker in workers)
            n_looks = 0 if fit else n_looks + 1
            if fit:
                _move_from_paused(client, futures)
    raise RuntimeError(
        "The Dask cluster has no workers that compute: they have left, or have paused since their "
        "memory is full"
    )


def _move_from_paused(client, futures):
    """Have other workers do what the tasks wait for on workers that compute no more.

    Dask itself moves waiting tasks to idle workers, but none that take milliseconds.
    """
    keys = [future.key for future in futures]

    # Nested, so that its code is sent: the scheduler's machine may have no fastem.
    def move(dask_scheduler):
        tasks, seen = [dask_scheduler.tasks.get(key) for key in keys], set()
        waiting = {}
        while tasks:
            task = tasks.pop()
            if task is None or task in seen or task.state == "memory":
                continue
            seen.add(task)
            tasks.extend(task.dependencies)
            worker = task.processing_on
            if worker not in {None, *dask_scheduler.running} and task not in worker.executing:
                waiting[task.key] = "released"  # and given to a worker anew, since it's wanted
        dask_scheduler.transitions(waiting, stimulus_id="fastem-move-from-paused")

    client.run_on_scheduler(move)


def finish(client: Client, futures: list[Future]) -> list:
    """The results of tasks, as :func:`settle` waits for them."""
    settle(client, futures)
    return client.gather(futures)


def _itself(thing):
    return thing


def _like(array):
    return array[:0]
