"""What numbers come in: masked, sparse, labelled or another library's arrays, or an array for each trial."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from .. import checks

AXES = ("trial", "time", "neuron")
# Names of dimensions that say which axis is which.
_SYNONYMS = {
    "trial": ("trial", "trials", "epoch", "epochs", "sweep", "sweeps"),
    "time": ("time", "times", "t", "bin", "bins", "time_bin", "time_bins", "sample", "samples"),
    "neuron": ("neuron", "neurons", "unit", "units", "cell", "cells", "channel", "channels", "roi", "rois"),
}
_CALLED = {word: axis for axis, words in _SYNONYMS.items() for word in words}


class Fresh(NamedTuple):
    """An array that a reader has made and nobody else holds, so that it need not be copied; and whether its
    axes are certainly (trial, time, neuron).
    """

    array: np.ndarray
    sure: bool = True


class Signal(NamedTuple):
    """An array, and what its container says: lengths of trials, names of neurons, that its axes are certain,
    and the step of its times; None or False where it says nothing.
    """

    array: Any
    lengths: Int[np.ndarray, " trial"] | None = None
    neurons: tuple[str, ...] | None = None
    fresh: bool = False
    sure: bool = False
    step: float | None = None


def signal(name, value, lengths=None, axes=None) -> Signal:
    """An array of the axes (trial, time, `name`'s own), out of whatever holds it.

    **Arguments**

    - `lengths`: (trial,), what the user says of valid bins; None if nothing.
    - `axes`: the axes of the array as the user says them, of `AXES`; None if nothing.

    **Raises** `TypeError` for quantities with a unit, tables, and what holds no array; `ValueError` for
    trials that do not fit together, masked values within trials, axes that are no order of `AXES`.

    >>> found = signal("spikes", [np.ones((2, 3)), np.ones((4, 3))])
    >>> found.array.shape, found.lengths
    ((2, 4, 3), array([2, 4]))
    """
    order = None if axes is None else order_of(name, axes)
    if isinstance(value, Fresh):
        return Signal(value.array, fresh=True, sure=value.sure)
    if _is_trials(value):
        found = _stacked(name, value, None if order is None else [i for i in order if i])
        return found._replace(sure=order is not None)
    if hasattr(value, "data_vars"):
        raise TypeError(
            f"{name}: expected an array (trial, time, neuron), got a Dataset: give one of its variables, "
            f"{', '.join(map(str, value.data_vars)) or 'of which it has none'}"
        )
    neurons = step = None
    if hasattr(value, "dims") and hasattr(value, "to_numpy"):
        step = _step(value)
        value, neurons, named = _by_dims(name, value, order)
        order, sure = None, named or order is not None
    else:
        sure = order is not None
    value = dense(name, value)
    if order is not None:
        value = value if hasattr(value, "transpose") else checks.array(name, value, AXES, padded=True)
        value = value.transpose(order) if value.ndim == 3 else value
    found = None
    if isinstance(value, np.ma.MaskedArray):
        value, found = _unmasked(name, value, lengths)
    return Signal(value, found, neurons, sure=sure, step=step)


def dense(name, value):
    """An array as numpy can read it; a masked array stays one."""
    if type(value) is np.ndarray:
        return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
    unitless(name, value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        return (value.to_dense() if getattr(value, "is_sparse", False) else value).numpy()
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        raise TypeError(
            f"{name}: expected an array (trial, time, neuron), got a table ({type(value).__name__}): give a "
            "list with the (time, neuron) table of each trial, such as [one.drop(columns='trial') for _, one "
            "in table.groupby('trial')]"
        )
    if hasattr(value, "toarray") or hasattr(value, "todense"):
        value = value.toarray() if hasattr(value, "toarray") else value.todense()
        if np.ndim(value) == 2:
            raise ValueError(
                f"{name}: expected axes (trial, time, neuron), got one sparse matrix of shape {value.shape}: "
                "give a list with the (time, neuron) matrix of each trial, or .toarray().reshape(trials, "
                "bins, neurons)"
            )
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def plain(name, value):
    """An array for something that has a number for each trial: no unit, nothing masked."""
    if value is None or isinstance(value, list | tuple):
        return value
    unitless(name, value)
    if isinstance(value, np.ma.MaskedArray):
        gone = np.ma.getmaskarray(value)
        if gone.any():
            raise ValueError(
                f"{name}: expected a value for each trial, got {int(gone.sum())} masked, the first at index "
                f"{tuple(int(i) for i in np.argwhere(gone)[0])}: leave those trials out"
            )
        return value.data
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return value.detach().cpu().numpy()
    return value


def unitless(name, value) -> None:
    """Refuse numbers that carry a physical unit: read as plain numbers they would lose it."""
    unit = getattr(value, "units", None) if hasattr(value, "magnitude") else getattr(value, "unit", None)
    if unit is not None and (hasattr(value, "magnitude") or hasattr(value, "to_value")):
        raise TypeError(
            f"{name}: expected plain numbers, seconds for bins and Hz for rates, got a quantity in {unit}: "
            "convert it and give its magnitude"
        )


def order_of(name, axes) -> tuple[int, ...]:
    """The permutation that brings an array of these axes to `AXES`."""
    said = axes.replace(",", " ").split() if isinstance(axes, str) else list(axes)
    known = [_CALLED.get(str(word).lower().strip("() ")) for word in said]
    if sorted(map(str, known)) != sorted(AXES):
        raise ValueError(
            f"axes: expected trial, time and neuron in the order that {name} has them, got {axes!r}"
        )
    return tuple(known.index(axis) for axis in AXES)


def _by_dims(name, value, order):
    """A labelled array in the order of `AXES`, by the names of its dimensions; its names of neurons, if they
    are words; whether the dimensions say which is which.
    """
    called = [_CALLED.get(str(dim).lower()) for dim in value.dims]
    left = set(AXES) - set(called)
    if len(called) == 3 and len(left) == 1 and called.count(None) == 1:
        called[called.index(None)] = left.pop()
    if sorted(map(str, called)) != sorted(AXES):
        array = value.to_numpy()
        return (array if order is None or array.ndim != 3 else array.transpose(order)), None, False
    named = tuple(called.index(axis) for axis in AXES)
    if order not in (None, named):
        raise ValueError(
            f"axes: expected the order of the dimensions {tuple(value.dims)}, got another: leave `axes` out"
        )
    coords = getattr(value, "coords", {})
    dim = value.dims[named[2]]
    return value.to_numpy().transpose(named), _words(coords[dim].to_numpy() if dim in coords else ()), True


def _step(value) -> float | None:
    """The step of a labelled array's times, in their own unit; in seconds for differences in time."""
    coords = getattr(value, "coords", {})
    times = [
        np.asarray(coords[d]) for d in value.dims if _CALLED.get(str(d).lower()) == "time" and d in coords
    ]
    if not times or len(times[0]) < 2 or times[0].dtype.kind not in "iufmM":
        return None
    steps = np.diff(times[0])
    steps = steps / np.timedelta64(1, "s") if steps.dtype.kind == "m" else steps.astype(float)
    return float(np.median(steps))


def _words(labels) -> tuple[str, ...] | None:
    labels = list(labels)
    return tuple(map(str, labels)) if labels and all(isinstance(one, str) for one in labels) else None


def _is_trials(value) -> bool:
    """Whether this is a sequence with an array, matrix or table of two axes for each trial."""
    if isinstance(value, np.ndarray) and not (value.dtype == object and value.ndim == 1):
        return False
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        return False
    return all(hasattr(one, "shape") and len(one.shape) == 2 for one in value)


def _stacked(name, trials, order) -> Signal:
    """Trials of (time, neuron), made as long as the longest; lengths where they differ."""
    labels = None
    parts = []
    for i, one in enumerate(trials):
        if hasattr(one, "columns") and hasattr(one, "to_numpy"):
            held = [str(label) if isinstance(label, str) else label for label in one.columns]
            labels = held if labels is None else labels
            others = [label for label in held if _CALLED.get(str(label).lower()) in ("trial", "time")]
            if others:
                raise ValueError(
                    f"{name}: expected a column for each neuron in every trial's table, got "
                    f"'{others[0]}' among them: drop it, one.drop(columns='{others[0]}')"
                )
            if held != labels:
                raise ValueError(
                    f"{name}: expected the same neurons, in the same order, in every trial's table, got "
                    f"{held[:5]} in trial {i} and {labels[:5]} in trial 0"
                )
            part = one.to_numpy()
            part = one.astype(float).to_numpy() if part.dtype == object else part
        elif hasattr(one, "toarray") or hasattr(one, "todense"):
            part = one.toarray() if hasattr(one, "toarray") else one.todense()
        else:
            part = dense(name, one)
        if isinstance(part, np.ma.MaskedArray) and np.ma.getmaskarray(part).any():
            raise ValueError(f"{name}: expected trials without masked values, got some in trial {i}")
        parts.append(np.asarray(part) if order in (None, [1, 2]) else np.asarray(part).T)
    lengths, widths = (np.array([part.shape[axis] for part in parts]) for axis in (0, 1))
    if (widths != widths[0]).any():
        i = int((widths != widths[0]).argmax())
        advice = (
            "these seem to be (neuron, time): give the transpose of each, [one.T for one in ...]"
            if (lengths == lengths[0]).all()
            else "each trial is (time, neuron)"
        )
        raise ValueError(
            f"{name}: expected the same number of neurons in every trial, got shape {parts[0].shape} in "
            f"trial 0 and {parts[i].shape} in trial {i}: {advice}"
        )
    made = np.zeros((len(parts), lengths.max(), widths[0]), np.result_type(*parts))
    for i, part in enumerate(parts):
        made[i, : len(part)] = part
    unequal = bool((lengths != lengths[0]).any())
    return Signal(made, lengths if unequal else None, _words(labels or ()), fresh=True)


def _unmasked(name, value, lengths):
    """The numbers of a masked array, and the lengths that its mask is the padding of; None without any."""
    gone = np.ma.getmaskarray(value)
    if not gone.any() or value.ndim != 3:
        if gone.any():
            raise ValueError(
                f"{name}: expected axes (trial, time, neuron), got a masked array of shape {value.shape}"
            )
        return value.data, None
    n_time = value.shape[1]
    if lengths is not None and np.shape(lengths) == value.shape[:1]:
        found, within = None, gone & _before(np.asarray(lengths), n_time)
    else:
        last = np.where(gone.all(axis=2), -1, np.arange(n_time)).max(axis=1)
        found, within = last + 1, gone & _before(last + 1, n_time)
    if within.any():
        first = tuple(int(i) for i in np.argwhere(within)[0])
        wholly = np.flatnonzero(within.any(axis=(0, 1)))
        raise ValueError(
            f"{name}: expected masks of what follows a trial's end, got {int(within.sum())} masked values "
            f"within the trials, the first at (trial, time, neuron) = {first}, in {len(wholly)} of "
            f"{value.shape[2]} neurons: leave those trials or neurons out, or fill them"
        )
    return value.data, found


def _before(lengths, n_time) -> Bool[np.ndarray, "trial time 1"]:
    return (np.arange(n_time) < lengths[:, None])[:, :, None]
