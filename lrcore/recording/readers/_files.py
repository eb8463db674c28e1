"""What readers share: files that are there, errors that name them, trials that are left out with a count."""

import os

import numpy as np
from jaxtyping import Bool, Shaped


class naming:
    """Puts the name of the file before what a recording refuses in it."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind in (ValueError, TypeError):
            raise kind(f"{self.path}: {error}") from error


def present(path, expected) -> None:
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "nothing"
        raise FileNotFoundError(f"{path}: expected {expected}, got {what}: check the path")


def usable(
    path, reasons: dict[str, Bool[np.ndarray, " trial"]], *, hint=""
) -> tuple[Shaped[np.ndarray, " chosen"], tuple[str, ...]]:
    """Indices of the trials with nothing against them; and a note of how many are left out for the first
    reason against, where some are.

    **Raises** `ValueError`, with all reasons, for fewer than two trials.
    """
    n_trials = len(next(iter(reasons.values())))
    kept, counts = np.ones(n_trials, bool), []
    for why, against in reasons.items():
        if (kept & against).any():
            counts.append(f"{(kept & against).sum()} {why}")
        kept &= ~against
    if kept.sum() < 2:
        why = f": {' and '.join(counts)}" if counts else ""
        raise ValueError(
            f"{path}: expected at least two usable trials, got {kept.sum()} of {n_trials}{why}{hint}"
        )
    return np.flatnonzero(kept), (f"left out of {n_trials} trials {' and '.join(counts)}",) if counts else ()
