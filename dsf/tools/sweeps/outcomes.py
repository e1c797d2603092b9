"""What a sweep returns: an outcome per task, in the order of the grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from dsf.core import printing
from dsf.core.errors import SweepError
from dsf.core.optional import pandas

Status = Literal["done", "failed", "timeout", "killed"]
SHOWN = 5  # tasks of one kind in a printed sweep


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    parameters   what the function was called with, without `rng`
    status       "done"; "failed": it raised; "timeout": stopped at the time limit; "killed": its
                 process died, also on the last attempt
    error        why it is not done, in one line; "" if it is
    exception    what it raised; of another process a copy, None if that cannot be pickled
    details      the traceback as text
    attempts     how often it was started in this call; 0 if it was kept from an earlier one
    seconds      of its last attempt
    """

    parameters: Mapping[str, Any]
    status: Status
    result: Any = None
    error: str = ""
    exception: BaseException | None = field(default=None, repr=False)
    details: str = field(default="", repr=False)
    attempts: int = 1
    seconds: float = 0.0

    @property
    def value(self) -> Any:
        """What the function returned; SweepError if it did not."""
        if self.status != "done":
            raise SweepError(self.told())
        return self.result

    def told(self) -> str:
        """One line about a task that is not done."""
        return f"sweep: no result for {named(self.parameters)}: {self.error}"


class Sweep(Sequence[Outcome]):
    """The outcomes of a sweep, in the order of its grid; `rows`, `values` and `to_pandas` take
    their values out.

    A value is never missing without a word: these three raise SweepError while a task is not done.
    `finished` is the sweep of those that are.
    """

    def __init__(
        self,
        name: str,
        outcomes: Iterable[Outcome],
        notes: Iterable[str] = (),
        seconds: float = 0.0,
    ) -> None:
        self.name, self.outcomes, self.notes = name, tuple(outcomes), tuple(notes)
        self.seconds = seconds  # on the clock, for all of it

    def __len__(self) -> int:
        return len(self.outcomes)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sweep: ...
    def __getitem__(self, index: int | slice) -> Outcome | Sweep:
        if isinstance(index, slice):
            return Sweep(self.name, self.outcomes[index], self.notes, self.seconds)
        return self.outcomes[index]

    @property
    def failures(self) -> Sweep:
        """The tasks without a result."""
        return self._those(lambda outcome: outcome.status != "done")

    @property
    def finished(self) -> Sweep:
        """The tasks with a result."""
        return self._those(lambda outcome: outcome.status == "done")

    def _those(self, wanted: Any) -> Sweep:
        return Sweep(self.name, filter(wanted, self.outcomes), self.notes, self.seconds)

    @property
    def values(self) -> list[Any]:
        """What the function returned for every task; SweepError if one of them has no result."""
        missing = self.failures
        if missing:
            more = f" (and {len(missing) - 1} more: see .failures)" if len(missing) > 1 else ""
            raise SweepError(
                f"{missing[0].told()}{more}.  `.finished` holds the tasks that are done; another "
                "call with the same cache computes the others again"
            )
        return [outcome.result for outcome in self.outcomes]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of a table: the parameters of each task, and what it returned.

        A dict goes into its row, a list of dicts makes as many rows, anything else is the entry
        "value".  Raises SweepError if a task has no result.
        """
        pairs = zip(self.outcomes, self.values, strict=True)
        return [{**task.parameters, **row} for task, value in pairs for row in _rows(value)]

    def to_pandas(self) -> Any:
        """`rows` as a `pandas.DataFrame`; MissingExtraError without pandas."""
        return pandas("Sweep.to_pandas", "rows").DataFrame(self.rows())

    def _printed(self) -> tuple[str, list[tuple[str, str]]]:
        counts = Counter(outcome.status for outcome in self.outcomes)
        told = [f"{counts['done']} of {len(self)} done"]
        told += [f"{counts[s]} {s}" for s in ("failed", "timeout", "killed") if counts[s]]
        title = f"sweep of {self.name}   {', '.join(told)}"
        rows = []
        kept = sum(outcome.attempts == 0 for outcome in self.outcomes)
        if kept:
            rows.append(("kept", f"{kept} from an earlier call"))
        again = [o for o in self.outcomes if o.attempts > 1]
        rows += _some("again", [f"{named(o.parameters)}: {o.attempts} attempts" for o in again])
        lost = [f"{named(o.parameters)} ({o.status}): {o.error}" for o in self.failures]
        rows += _some("no result", lost)
        rows += _some("note", list(self.notes))
        inside = sum(o.seconds for o in self.outcomes if o.attempts)
        rows.append(("time", f"{self.seconds:.1f} s, {inside:.1f} s in tasks"))
        return title, rows

    def __repr__(self) -> str:
        return printing.block(*self._printed())

    def _repr_html_(self) -> str:
        return printing.shown(*self._printed())


def named(parameters: Mapping[str, Any]) -> str:
    """The parameters of a task in one line.

    >>> named({"n": 3, "mech": "gla"}), named({})
    ("n=3, mech='gla'", '(no parameters)')
    """
    return ", ".join(f"{k}={_short(v)}" for k, v in parameters.items()) or "(no parameters)"


def _short(value: Any) -> str:
    if hasattr(value, "shape") and value.shape:
        return f"{type(value).__name__} {printing.axes(value)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


def _rows(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, (list, tuple)) and all(isinstance(v, Mapping) for v in value):
        return list(value)
    return [{"value": value}]


def _some(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    labels = [label] + [""] * SHOWN
    return list(zip(labels, [*texts[:SHOWN], *more], strict=False))
