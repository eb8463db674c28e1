"""`.npz` files of the field: counts or rates, and what a file says of its bins."""

import pickle
import zipfile
import zlib

import numpy as np
from jaxtyping import Shaped

from .. import _containers, validation
from ..validation import BIN_WIDTH
from . import _columns
from ._binning import resolution
from ._files import naming, present, usable

_EXPECTED = "an .npz file with the key 'spikes' or 'rates'"
# Keys that hold the width of a bin, and their unit in seconds; and those of bins, or samples, in a second.
_WIDTHS = dict.fromkeys(
    ("bin_width", "binwidth", "bin_size", "binsize", "dt", "bin_width_s", "bin_s", "dt_s"), 1.0
)
_WIDTHS |= dict.fromkeys(("bin_width_ms", "bin_size_ms", "bin_ms", "dt_ms"), 1e-3)
_FREQUENCIES = ("fs", "sampling_rate", "sampling_frequency", "sample_rate")
_WANTED = ("spikes", "rates", "externalinputs", "lengths", "times", "choices", *_WIDTHS, *_FREQUENCIES)


def npz(path, *, key=None, bin_width=None, axes=None, coding=None) -> dict:
    """The arguments of a recording in an `.npz` file; see `Recording.from_npz`."""
    held = _read(path)
    found = [k for k in ("spikes", "rates") if k in held]
    if key is not None and key not in found:
        raise ValueError(f"{path}: expected the key '{key}', got {', '.join(held) or 'no keys'}")
    if len(found) != 1 and key is None:
        what = "both: choose with `key`" if found else f"neither, but {', '.join(held) or 'no keys'}"
        raise ValueError(f"{path}: expected the key 'spikes' or 'rates', got {what}")
    key = key or found[0]
    signal, inputs = held[key], held.get("externalinputs")
    with naming(path):
        bin_width = None if bin_width is None else validation.seconds(bin_width)
        if axes is not None and signal.ndim == 3:
            signal = signal.transpose(_containers.order_of(key, axes))
    if inputs is not None and np.issubdtype(inputs.dtype, np.floating) and np.isnan(inputs).all():
        inputs = None
    if signal.ndim != 3:
        return {key: signal, "bin_width": bin_width or BIN_WIDTH}
    width, onsets = _bins(path, held, signal.shape, bin_width)
    choices, told, notes, coded = held.get("choices"), (), (), False
    if choices is not None and choices.dtype.kind == "f" and np.isnan(choices).all():
        choices = None
    if choices is not None and choices.shape == signal.shape[:1]:
        written, choices = choices, _columns.choices(path, "choices", choices, coding)
        used, told = usable(path, {"without a choice": np.isnan(choices.values)})
        notes, coded, choices = choices.notes, choices.coding is not None, choices.values
    else:
        used = np.arange(len(signal))
    info = {"onsets": onsets, "choices": written if coded else None}

    def some(value):
        fits = value is not None and value.shape[:1] == signal.shape[:1] and len(used) < len(signal)
        return value[used] if fits else value

    return {
        key: _containers.Fresh(some(signal), sure=axes is not None),
        "bin_width": width,
        "lengths": some(held.get("lengths")),
        "inputs": some(inputs),
        "choices": some(choices),
        "info": {name: some(value) for name, value in info.items() if value is not None},
        "told": told,
        "notes": notes,
    }


def _bins(path, held, shape, said) -> tuple[float, Shaped[np.ndarray, " trial"] | None]:
    """The width of a bin in seconds, as the user says it, or as the file does; and the onsets, if there are
    any.
    """
    stated, frequency = _stated(path, held)
    if stated == 1 and said != 1:
        if said is None:
            raise ValueError(
                f"{path}: expected the width of a bin in seconds, got 1, as of bins or milliseconds: give "
                "bin_width in seconds"
            )
        stated = None
    if said is not None and stated is not None and abs(said - stated) > 1e-3 * stated:
        raise ValueError(
            f"{path}: expected the bin width that the file states, {stated:g} s, got bin_width={said:g}: "
            "leave it out to take the file's"
        )
    known = stated if said is None else said
    # More in a second are raw samples.
    bins = frequency is not None and frequency <= 1000
    if "times" not in held:
        if known is None and frequency is not None and not bins:
            raise ValueError(
                f"{path}: expected the number of bins in a second, got {frequency:g}, as of raw samples: "
                "give bin_width in seconds"
            )
        return _agreed(path, frequency if bins else None, known), None
    onsets, step, whole = _times(path, held["times"], shape, known)
    if step is None:
        samples = frequency is not None and not bins and (onsets == np.round(onsets)).all()
        width = _agreed(path, frequency if bins else None, known)
        return width, onsets / frequency if samples else onsets
    if whole and frequency is not None:
        step, whole = step / frequency, False
    elif bins:
        _agreed(path, frequency, step)
    if known is None:
        if np.isclose(step, (0.5, 1), rtol=1e-6).any():
            raise ValueError(
                f"{path}: expected `times` in seconds, got steps of {step:g}, as of bins or milliseconds: "
                "give bin_width in seconds"
            )
        return step, onsets
    # An axis in milliseconds, in samples or in bins is as clear, once the bin width is said.
    if not (whole or np.isclose(step, known, rtol=1e-3) or np.isclose(step, 1000 * known, rtol=1e-3)):
        raise ValueError(
            f"{path}: expected `times` in steps of the bin width {known:g} s, got steps of {step:g}: "
            "both are in seconds; leave `bin_width` out to take the file's"
        )
    return known, onsets


def _agreed(path, frequency, width) -> float:
    """The width of a bin by the number of bins in a second, or as it is known; refused where they differ."""
    if frequency is not None and width is not None and not np.isclose(1 / frequency, width, rtol=1e-3):
        raise ValueError(
            f"{path}: expected one bin width, got {frequency:g} bins in a second, {1 / frequency:g} s each, "
            f"and bins of {width:g} s: leave one out"
        )
    return width if width is not None else BIN_WIDTH if frequency is None else 1 / frequency


def _stated(path, held) -> tuple[float | None, float | None]:
    """The width of a bin, and the number of bins or samples in a second, that the file has by name."""
    widths = {key: _number(path, key, held[key]) * unit for key, unit in _WIDTHS.items() if key in held}
    frequencies = {key: _number(path, key, held[key]) for key in _FREQUENCIES if key in held}
    for found in (widths, frequencies):
        if found and not np.allclose(list(found.values()), next(iter(found.values())), rtol=1e-3):
            listed = ", ".join(f"{key}: {value:g}" for key, value in found.items())
            raise ValueError(f"{path}: expected one bin width, got {listed}")
    return next(iter(widths.values()), None), next(iter(frequencies.values()), None)


def _number(path, key, value) -> float:
    if value.size != 1 or value.dtype.kind not in "iuf" or not value.item() > 0:
        raise ValueError(
            f"{path}: expected a positive number as '{key}', got {value.dtype} of shape {value.shape}"
        )
    # A single precision number as it was typed, 0.02 and not 0.0199999996.
    return float(str(value.ravel()[0]))


def _times(path, times, shape, known):
    """Onsets (trial,), or None; the step of a time axis, or None; whether that axis is of whole numbers."""
    n_trials, n_time = shape[:2]
    if times.dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected numbers as `times`, got {times.dtype}")
    if times.shape == (n_trials, n_time):
        # An axis for each trial, on the session's clock.
        steps = np.array([_step(row[np.isfinite(row)] - row[0]) or np.nan for row in times.astype(float)])
        step = float(steps[0])
        if not (np.abs(steps - step) <= 1e-3 * step).all():
            raise ValueError(f"{path}: expected `times` (trial, time) in even steps, got uneven ones")
        return times[:, 0], step, step == round(step)
    if times.ndim != 1 or len(times) not in (n_trials, n_time, n_time + 1):
        raise ValueError(
            f"{path}: expected `times` as the onset of each of {n_trials} trials, or as the axis of {n_time} "
            f"bins, got shape {times.shape}: is the order of the axes another? Say it with axes"
        )
    step = _step(times) if len(times) in (n_time, n_time + 1) else None
    # Centres of bins without a unit are halves.
    whole = bool((times == np.round(times)).all()) or step == 1
    if len(times) != n_trials:
        if step is None:
            raise ValueError(
                f"{path}: expected `times` of the {n_time} bins in even steps, got uneven ones: bin anew "
                "in one width"
            )
        return None, step, whole
    if step is None:
        return times, None, False
    # As many trials as bins, and even steps: both an axis and onsets.
    if known is not None:
        axis = np.isclose(step, known, rtol=1e-3) or np.isclose(step, 1000 * known, rtol=1e-3)
        return (None, step, whole) if axis else (times, None, False)
    if step < n_time * BIN_WIDTH:
        return None, step, whole
    raise ValueError(
        f"{path}: expected `times` that are either onsets or a time axis, got even steps of {step:g} in "
        f"{n_trials} trials of {n_time} bins, which may be both: give bin_width in seconds"
    )


def _step(times) -> float | None:
    """The step of evenly spaced, rising times, as short as they resolve it; None for others."""
    slack = 2 * resolution(times)
    steps = np.diff(times.astype(float))
    if not len(steps) or not steps[0] > 0:
        return None
    step = float(steps.mean())
    if not (np.abs(steps - step) <= 1e-3 * step + slack).all():
        return None
    for digits in range(1, 16):
        short = float(f"{step:.{digits}g}")
        if abs(short - step) * len(steps) <= slack:
            return short
    return step


def _read(path) -> dict[str, Shaped[np.ndarray, "..."]]:
    present(path, _EXPECTED)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            # Keys not asked for are named only, as a message may need them.
            return {key: file[key] if key in _WANTED else np.empty(0) for key in file.files}
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
            f"{path}: expected {_EXPECTED}, got a file that is truncated, of another kind, or holds Python "
            f"objects ({type(error).__name__}: {error}): write it again with np.savez"
        ) from error
