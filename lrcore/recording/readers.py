"""Readers of the field's files: each gives the arguments of a `Recording`."""

import os
import pickle
import warnings
import zipfile
import zlib

import numpy as np
from jaxtyping import Shaped

# The bin of the field's FINDR and Connector codes and of the published rat sessions, in seconds.
BIN_WIDTH = 0.01
# A time this part of a bin before an edge counts as on it: times are sums of rounded numbers.
SLACK = 1e-6


def npz(path, *, key=None, bin_width=None) -> dict:
    """The arguments of a recording in an `.npz` file; see `Recording.from_npz`."""
    held = _read_npz(path)
    found = [k for k in ("spikes", "rates") if k in held]
    if key is not None and key not in found:
        raise ValueError(f"{path}: expected the key '{key}', got {', '.join(held) or 'no keys'}")
    if len(found) != 1 and key is None:
        what = "both: choose with `key`" if found else f"neither, but {', '.join(held) or 'no keys'}"
        raise ValueError(f"{path}: expected the key 'spikes' or 'rates', got {what}")
    key = key or found[0]
    inputs = held.get("externalinputs")
    if inputs is not None and np.issubdtype(inputs.dtype, np.floating) and np.isnan(inputs).all():
        inputs = None
    info = {}
    if "times" in held:
        step = _time_step(held["times"], held[key].shape)
        if step is None:
            info["onsets"] = held["times"]
        elif bin_width is None:
            bin_width = step
        # An axis in milliseconds is as clear, once the bin width is said.
        elif not (np.isclose(step, bin_width, rtol=1e-3) or np.isclose(step, 1000 * bin_width, rtol=1e-3)):
            raise ValueError(
                f"{path}: expected `times` in steps of the bin width {bin_width:g} s, got steps of {step:g}: "
                "both are in seconds; leave `bin_width` out to take the file's"
            )
    return {
        key: held[key],
        "bin_width": BIN_WIDTH if bin_width is None else bin_width,
        "lengths": held.get("lengths"),
        "inputs": inputs,
        "choices": held.get("choices"),
        "info": info,
    }


def mat(path) -> dict:
    """The arguments of a recording in a `.mat` session file; see `Recording.from_mat`."""
    trials, names = _read_mat(path)
    reasons = {
        "with photostimulation": np.array([np.isfinite(t["photostimulus"]).any() for t in trials]),
        "of fewer than two bins": np.array([len(t["spikes"]) < 2 for t in trials]),
    }
    used = [trials[i] for i in _usable(path, reasons)]
    lengths = np.array([len(trial["spikes"]) for trial in used])
    spikes = np.zeros((len(used), lengths.max(), len(names)), used[0]["spikes"].dtype)
    inputs = np.zeros((len(used), lengths.max(), 2), np.float32)
    for i, trial in enumerate(used):
        spikes[i, : lengths[i]] = trial["spikes"]
        for side, clicks in enumerate(trial["clicks"]):
            # The small number keeps a click on the edge of a bin in the later one.
            bins = np.floor(clicks / BIN_WIDTH + 1e-9).astype(int)
            np.add.at(inputs[i, :, side], bins[(bins >= 0) & (bins < lengths[i])], 1)
    return {
        "spikes": spikes,
        "bin_width": BIN_WIDTH,
        "lengths": lengths,
        "inputs": inputs if any(len(side) for trial in used for side in trial["clicks"]) else None,
        "choices": [trial["choice"] for trial in used],
        "neurons": names,
        "info": {key: np.array([trial[key] for trial in used]) for key in ("gamma", "onsets")},
    }


def nwb(path, *, bin_width, choice, clicks, photostimulus, neurons) -> dict:
    """The arguments of a recording in an `.nwb` file; see `Recording.from_nwb`."""
    wanted = {"start_time", "stop_time", "gamma", choice, photostimulus, *clicks}
    units, names, trials, sides = _read_nwb(path, wanted, clicks, neurons)
    starts, stops = (np.asarray(trials[key], float) for key in ("start_time", "stop_time"))
    lengths = np.floor((stops - starts) / bin_width + SLACK)
    reasons = {"of fewer than two bins": ~(lengths >= 2)}
    light = trials.get(photostimulus)
    if light is not None:
        # A truth value, or a time that is NaN where there was none.
        on = np.asarray(light)
        reasons["with photostimulation"] = np.isfinite(on) if on.dtype.kind == "f" else on.astype(bool)
    choices = trials.get(choice)
    if choices is not None:
        choices = np.array([_choice(path, choice, value) for value in choices])
        reasons["without a choice"] = np.isnan(choices)
    used = _usable(path, reasons)
    starts, lengths = starts[used], lengths[used].astype(int)
    info = {"onsets": starts} | ({"gamma": np.asarray(trials["gamma"])[used]} if "gamma" in trials else {})
    inputs = None
    if sides is not None:
        inputs = np.stack([_binned(times, starts, lengths, bin_width) for times in sides], axis=-1)
        if any(len(times) for times in sides) and not inputs.any():
            raise ValueError(
                f"{path}: expected the times of {' and '.join(clicks)} in seconds of the session, got none "
                "within a trial: if they are counted from the start of the trial, add start_time to them"
            )
    return {
        "spikes": np.stack([_binned(times, starts, lengths, bin_width) for times in units], axis=-1),
        "bin_width": bin_width,
        "lengths": lengths,
        "inputs": inputs,
        "choices": None if choices is None else choices[used],
        "neurons": names,
        "info": info,
    }


def _usable(path, reasons) -> Shaped[np.ndarray, " chosen"]:
    """Indices of the trials with nothing against them; warns how many are left out for the first reason
    against.
    """
    n_trials = len(next(iter(reasons.values())))
    kept, counts = np.ones(n_trials, bool), []
    for why, against in reasons.items():
        if (kept & against).any():
            counts.append(f"{(kept & against).sum()} {why}")
        kept &= ~against
    if counts:
        # Three frames up is the caller of `Recording.from_mat` or `.from_nwb`.
        left_out = " and ".join(counts)
        warnings.warn(f"{path}: left out of {n_trials} trials {left_out}", UserWarning, stacklevel=4)
    if kept.sum() < 2:
        raise ValueError(f"{path}: expected at least two usable trials, got {kept.sum()} of {n_trials}")
    return np.flatnonzero(kept)


def _binned(times, starts, lengths, bin_width) -> Shaped[np.ndarray, "trial time"]:
    """Counts of events at `times`, in seconds of the session, in the bins of each trial."""
    times = np.sort(np.asarray(times, float))
    counts = np.zeros((len(starts), lengths.max()), np.int32)
    early = SLACK * bin_width
    first, last = (np.searchsorted(times, edge - early) for edge in (starts, starts + lengths * bin_width))
    trial = np.repeat(np.arange(len(starts)), last - first)
    inside = np.concatenate([times[a:b] for a, b in zip(first, last, strict=True)])
    bins = np.floor((inside - starts[trial]) / bin_width + SLACK).astype(int)
    np.add.at(counts, (trial, np.clip(bins, 0, lengths[trial] - 1)), 1)
    return counts


def _choice(path, name, value) -> float:
    """0 for left, 1 for right, as written in any of the usual ways; NaN where there was none."""
    if isinstance(value, str | bytes):
        word = (value.decode() if isinstance(value, bytes) else value).strip().lower()
        known = {"left": 0.0, "l": 0.0, "right": 1.0, "r": 1.0, "": np.nan, "none": np.nan, "nan": np.nan}
        if word not in known:
            raise ValueError(f"{path}: expected left or right in the column '{name}', got '{value}'")
        return known[word]
    return float(value)


class naming:
    """Puts the name of the file before what a recording refuses in it."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind in (ValueError, TypeError):
            raise kind(f"{self.path}: {error}") from error


def _present(path, expected) -> None:
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "nothing"
        raise FileNotFoundError(f"{path}: expected {expected}, got {what}: check the path")


def _read_npz(path) -> dict[str, Shaped[np.ndarray, "..."]]:
    expected = "an .npz file with the key 'spikes' or 'rates'"
    _present(path, expected)
    wanted = ("spikes", "rates", "externalinputs", "lengths", "times", "choices")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            # Keys not asked for are named only, as a message may need them.
            return {key: file[key] if key in wanted else np.empty(0) for key in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        zipfile.BadZipFile,
        zlib.error,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(
            f"{path}: expected {expected}, got a file that is truncated, of another kind, or holds Python "
            f"objects ({type(error).__name__}: {error}): write it again with np.savez"
        ) from error


def _time_step(times, shape) -> float | None:
    """Step of a time axis (time,); None for onsets (trial,)."""
    if times.ndim == 1 and len(times) == shape[1] and np.issubdtype(times.dtype, np.number):
        steps = np.diff(times)
        if len(steps) and steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3):
            return float(steps.mean())
    return None


def _read_mat(path) -> tuple[list[dict], list[str]]:
    """The trials of a session file as plain dictionaries, and the names of its neurons."""
    from scipy.io import loadmat

    expected = "a MATLAB session file with the variables `trials` and `neurons`"
    _present(path, expected)
    try:
        held = loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError as error:
        raise ValueError(
            f"{path}: expected {expected} of version 7 or older, got version 7.3 (HDF5)"
        ) from error
    except Exception as error:
        # scipy's reader fails in a dozen ways on bytes that are no MATLAB file.
        raise ValueError(
            f"{path}: expected {expected}, got a file that is truncated or of another kind "
            f"({type(error).__name__}: {error}): fetch it again"
        ) from error
    missing = [key for key in ("trials", "neurons") if key not in held]
    if missing:
        found = ", ".join(key for key in held if not key.startswith("__")) or "none"
        raise ValueError(f"{path}: expected {expected}, got the variables {found}: is it another file?")
    try:
        trials = [_mat_trial(trial) for trial in np.atleast_1d(held["trials"])]
        names = [f"{n.brainarea} {n.neuronindex}" for n in np.atleast_1d(held["neurons"])]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected trials with choice, clicktimes, gamma, ntimesteps, stereoclick_time_s and "
            f"spiketrains of that length, got something else ({error}): is it another file?"
        ) from error
    if any(trial["spikes"].shape[1] != len(names) for trial in trials):
        raise ValueError(
            f"{path}: expected a spike train for each of the {len(names)} neurons in every trial"
        )
    return trials, names


def _mat_trial(trial) -> dict:
    trains = trial.spiketrains
    if trains.dtype != object:
        trains = [trains]
    spikes = np.stack([np.atleast_1d(train) for train in trains], axis=1)
    if len(spikes) != trial.ntimesteps:
        raise ValueError(f"{len(spikes)} bins where ntimesteps is {trial.ntimesteps}")
    heard = getattr(trial, "clicktimes", None)
    clicks = [np.atleast_1d(np.asarray(getattr(heard, side, []), float)) for side in "LR"]
    stimulus = getattr(trial, "photostimulus_incline_on_s", np.nan)
    return {
        "spikes": spikes,
        "clicks": clicks,
        "choice": int(trial.choice),
        "gamma": float(trial.gamma),
        "onsets": float(trial.stereoclick_time_s),
        "photostimulus": np.atleast_1d(np.asarray(stimulus, float)),
    }


def _read_nwb(path, wanted, clicks, neurons):
    """Spike times and names of the units, the wanted columns of the trials table, times of each kind of click
    or None.
    """
    expected = "an NWB file with units and trials"
    _present(path, expected)
    try:
        from pynwb import NWBHDF5IO
    except ImportError as error:
        raise ImportError(f'{path}: to read NWB files, pip install "lrcore[nwb]"') from error
    try:
        with NWBHDF5IO(str(path), "r") as io:
            file = io.read()
            units, trials = file.units, file.trials
            if units is not None:
                spikes = [np.asarray(units.get_unit_spike_times(i)) for i in range(len(units))]
                names = units[neurons][:] if neurons in units.colnames else units.id[:]
            held = () if trials is None else trials.colnames
            columns = {name: trials[name][:] for name in held if name in wanted}
            sides = [_events(file, columns, name) for name in clicks]
    except Exception as error:
        # HDF5 and hdmf fail in many ways on bytes that are no NWB file.
        raise ValueError(
            f"{path}: expected {expected}, got a file that is truncated or of another kind "
            f"({type(error).__name__}: {error}): write it again, or fetch it again"
        ) from error
    if units is None or not len(spikes):
        raise ValueError(f"{path}: expected {expected}, got no units: are the spikes sorted?")
    if trials is None or not len(trials):
        raise ValueError(
            f"{path}: expected {expected}, got no trials: add them with `add_trial(start_time, stop_time)`"
        )
    missing = [name for name, times in zip(clicks, sides, strict=True) if times is None]
    if missing and len(missing) < len(clicks):
        raise ValueError(
            f"{path}: expected all of {', '.join(clicks)} or none, got no {', '.join(missing)}: name what "
            "the file has with clicks=(left, right)"
        )
    return spikes, [str(name) for name in names], columns, None if missing or not sides else sides


def _events(file, columns, name):
    """Times of the events of that name: in the trials table, else a series anywhere in the file; None
    without.
    """
    if name in columns:
        ragged = [np.atleast_1d(np.asarray(times, float)) for times in columns[name]]
        return np.concatenate(ragged) if ragged else np.zeros(0)
    for found in file.objects.values():
        if found.name == name and getattr(found, "timestamps", None) is not None:
            return np.asarray(found.timestamps[:], float)
    return None
