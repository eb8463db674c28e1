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
    used, left_out = [], {"with photostimulation": 0, "of fewer than two bins": 0}
    for trial in trials:
        if np.isfinite(trial["photostimulus"]).any():
            left_out["with photostimulation"] += 1
        elif len(trial["spikes"]) < 2:
            left_out["of fewer than two bins"] += 1
        else:
            used.append(trial)
    if any(left_out.values()):
        counts = " and ".join(f"{n} {why}" for why, n in left_out.items() if n)
        # Two frames up is the caller of `Recording.from_mat`.
        warnings.warn(f"{path}: left out of {len(trials)} trials {counts}", UserWarning, stacklevel=3)
    if len(used) < 2:
        raise ValueError(f"{path}: expected at least two usable trials, got {len(used)} of {len(trials)}")
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
        "inputs": inputs,
        "choices": [trial["choice"] for trial in used],
        "neurons": names,
        "info": {key: np.array([trial[key] for trial in used]) for key in ("gamma", "onsets")},
    }


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
    clicks = [np.atleast_1d(np.asarray(side, float)) for side in (trial.clicktimes.L, trial.clicktimes.R)]
    stimulus = getattr(trial, "photostimulus_incline_on_s", np.nan)
    return {
        "spikes": spikes,
        "clicks": clicks,
        "choice": int(trial.choice),
        "gamma": float(trial.gamma),
        "onsets": float(trial.stereoclick_time_s),
        "photostimulus": np.atleast_1d(np.asarray(stimulus, float)),
    }
