"""What a reader of sessions gives: spike times, trials, events and signals, read piece by piece."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ._binning import Series


class Found(NamedTuple):
    """Events or a signal, by name.

    - `times`: of the events or samples, as the file has them.
    - `rows`: the same for each trial, where a column of the trials table holds them.
    - `series`: the signal, where there is one.
    - `relative`: whether the file says that rows are counted from the start of each trial.
    - `support`: intervals (interval, 2) in which events were looked for, None if not said.
    """

    times: np.ndarray
    rows: list[np.ndarray] | None = None
    series: Series | None = None
    relative: bool = False
    support: np.ndarray | None = None


def of_rows(path, name, column, described="") -> Found:
    """The events of a column that has their times, or one, for each trial, and its description."""
    try:
        rows = [np.ravel(np.asarray(row, float)) for row in column]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected times in the column '{name}', got {column[0]!r}") from error
    words = ("trial start", "trial onset", "start of the trial", "start of trial", "relative to trial")
    relative = any(word in described.lower().replace("each trial", "the trial") for word in words)
    return Found(np.concatenate([np.zeros(0), *rows]), rows, relative=relative)


class Source(NamedTuple):
    """A file of spike times and trials, read piece by piece.

    - `path`: what errors begin with.
    - `n_units`, `n_trials`.
    - `spikes`: times of the unit of that index, as the file has them.
    - `sample`: some spike times, the first and the last of each unit among them.
    - `n_spikes`: of all units together.
    - `unit_column`, `trial_column`: a column by name, None without.
    - `find`: events or a signal by name, None without.
    - `observed`: intervals (interval, 2) in which the unit of that index was observed, None if not said.
    - `invalid`: intervals (interval, 2) that are not to be analysed.
    - `support`: intervals (interval, 2) that were recorded, None if not said.
    - `stated`: seconds in units that the file says the spike times may be in, each with its words.
    - `reference`: the Unix time of the session's zero, None if not said.
    - `fine`: seconds that the file's own times are rounded to, beyond what its numbers resolve.
    - `words`: what the file calls the start and the stop of a trial, and its trials.
    """

    path: Any
    n_units: int
    n_trials: int
    spikes: Callable[[int], np.ndarray]
    sample: np.ndarray
    n_spikes: int
    unit_column: Callable[[str], Any]
    trial_column: Callable[[str], Any]
    find: Callable[[Any], Found | None]
    observed: Callable[[int], np.ndarray | None]
    invalid: Float[np.ndarray, "interval 2"]
    support: Float[np.ndarray, "interval 2"] | None = None
    stated: tuple[tuple[float, str], ...] = ()
    reference: float | None = None
    fine: float = 0.0
    words: tuple[str, str] = ("start_time", "stop_time")


def called(name) -> str:
    """What messages call events: by name, objects by their kind, as they print long."""
    return name if isinstance(name, str) else f"a {type(name).__name__}"
