"""MATLAB session files of rats in the Poisson-Clicks task."""

import numpy as np
from jaxtyping import Float, Shaped

from .._containers import Fresh
from ..validation import BIN_WIDTH
from . import _columns, _hdf5
from ._files import present, usable

_EXPECTED = "a MATLAB session file with the variables `trials` and `neurons`"


def mat(path, *, coding=None) -> dict:
    """The arguments of a recording in a `.mat` session file; see `Recording.from_mat`."""
    trials, names = _read(path)
    light, words = _columns.lit([trial["photostimulus"] for trial in trials], times=True)
    choices = _columns.choices(path, "choice", [trial["choice"] for trial in trials], coding)
    seen = f" ('photostimulus_incline_on_s' says {', '.join(words[:4])})" if words else ""
    used, told = usable(
        path,
        {
            f"with photostimulation{seen}": light,
            "of fewer than two bins": np.array([len(t["spikes"]) < 2 for t in trials]),
            "without a choice": np.isnan(choices.values),
        },
    )
    chosen = [trials[i] for i in used]
    lengths = np.array([len(trial["spikes"]) for trial in chosen])
    # MATLAB saves each array in the smallest type that holds it: what holds one may be too small for another.
    kind = np.result_type(*{trial["spikes"].dtype for trial in chosen})
    spikes = np.zeros((len(chosen), lengths.max(), len(names)), kind)
    inputs = np.zeros((len(chosen), lengths.max(), 2), np.float32)
    for i, trial in enumerate(chosen):
        spikes[i, : lengths[i]] = trial["spikes"]
        for side, clicks in enumerate(trial["clicks"]):
            # The small number keeps a click on the edge of a bin in the later one.
            bins = np.floor(clicks / BIN_WIDTH + 1e-9).astype(int)
            np.add.at(inputs[i, :, side], bins[(bins >= 0) & (bins < lengths[i])], 1)
    heard = [clicks for trial in chosen for clicks in trial["clicks"]]
    times = np.concatenate(heard)
    # The stereo click is at 0 in any unit; a train may go on after a short trial, but not for so long.
    late = times / np.repeat(BIN_WIDTH * lengths, [sum(map(len, trial["clicks"])) for trial in chosen])
    if ((late < 0) | (late > 10)).sum() > 0.5 * (times != 0).sum():
        raise ValueError(
            f"{path}: expected clicktimes in seconds from the stereo click on, got most far beyond their "
            f"trial, from {times.min():.6g} to {times.max():.6g}: subtract stereoclick_time_s from them, or "
            "divide milliseconds by 1000"
        )
    info = {key: np.array([trial[key] for trial in chosen]) for key in ("gamma", "onsets")}
    if choices.coding is not None:
        info["choice"] = np.array([str(trial["choice"]) for trial in chosen])
    return {
        "spikes": Fresh(spikes),
        "bin_width": BIN_WIDTH,
        "lengths": lengths,
        "inputs": inputs if any(map(len, heard)) else None,
        "choices": choices.values[used],
        "neurons": names,
        "info": info,
        "told": told,
        "notes": choices.notes,
    }


def _read(path) -> tuple[list[dict], list[str]]:
    """The trials of a session file as plain dictionaries, and the names of its neurons."""
    present(path, _EXPECTED)
    held, version = _variables(path)
    missing = [key for key in ("trials", "neurons") if key not in held]
    if missing:
        found = ", ".join(key for key in held if not key.startswith("__")) or "none"
        raise ValueError(
            f"{path}: expected {_EXPECTED}, got the variables {found}{version}: is it another file?"
        )
    try:
        trials = [_trial(trial) for trial in np.atleast_1d(held["trials"])]
        names = [_name(neuron) for neuron in np.atleast_1d(held["neurons"])]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected trials with choice, clicktimes, gamma, ntimesteps, stereoclick_time_s and "
            f"spiketrains of that length, got something else{version} ({error}): is it another file?"
        ) from error
    if any(trial["spikes"].shape[1] != len(names) for trial in trials):
        raise ValueError(
            f"{path}: expected a spike train for each of the {len(names)} neurons in every trial"
        )
    return trials, names


def _variables(path) -> tuple[dict, str]:
    """Variables of a MATLAB file by name, and its version, where that is 7.3."""
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False), ""
    except NotImplementedError:
        pass
    except Exception as error:
        # scipy's reader fails in a dozen ways on bytes that are no MATLAB file.
        raise ValueError(
            f"{path}: expected {_EXPECTED}, got a file that is truncated or of another kind "
            f"({type(error).__name__}: {error}): fetch it again"
        ) from error
    try:
        return _hdf5.load(path, ("trials", "neurons")), " in a file of version 7.3"
    except ImportError as error:
        raise ImportError(
            f"{path}: to read MATLAB files of version 7.3, pip install h5py, or save it with '-v7' in MATLAB"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path}: expected {_EXPECTED}, got version 7.3 (HDF5) that is truncated "
            f"({type(error).__name__}: {error}): fetch it again"
        ) from error


def _trial(trial) -> dict:
    trains = trial.spiketrains
    several = isinstance(trains, np.ndarray) and trains.dtype == object
    spikes = np.stack([_train(train) for train in (trains if several else [trains])], axis=1)
    if len(spikes) != trial.ntimesteps:
        raise ValueError(f"{len(spikes)} bins where ntimesteps is {trial.ntimesteps}")
    heard = getattr(trial, "clicktimes", None)
    return {
        "spikes": spikes,
        "clicks": [_times(getattr(heard, side, [])) for side in "LR"],
        "choice": trial.choice,
        "gamma": float([*_times(trial.gamma), np.nan][0]),
        "onsets": float([*_times(trial.stereoclick_time_s), np.nan][0]),
        "photostimulus": getattr(trial, "photostimulus_incline_on_s", np.nan),
    }


def _train(train) -> Shaped[np.ndarray, " time"]:
    """Counts of a neuron in a trial, which MATLAB may hold as a sparse matrix."""
    return np.ravel(train.toarray() if hasattr(train, "toarray") else train)


def _times(value) -> Float[np.ndarray, " event"]:
    """Times that there are; none where there is NaN, nothing or an empty text."""
    times = (
        np.zeros(0) if isinstance(value, str) and not value.strip() else np.ravel(np.asarray(value, float))
    )
    return times[np.isfinite(times)]


def _name(neuron) -> str:
    """Area and number, which is whole whatever type it was saved in."""
    number = neuron.neuronindex
    return f"{neuron.brainarea} {number if isinstance(number, str) or number != int(number) else int(number)}"
