"""Recordings: spikes or rates of a neuronal population in trials, checked once when they are made."""

import os
import warnings

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from .. import checks
from ..checks import ArrayLike
from . import _containers, readers, validation
from .report import Report, examine
from .validation import BIN_WIDTH

# Mean rate over the neurons, in Hz. Above: a refractory period of 2 ms leaves no more than 500 Hz. Below:
# a population that spikes less than once in 20 s a neuron is rather one whose bins are 1000 times shorter.
PLAUSIBLE_RATES = (0.05, 500.0)


class Recording(eqx.Module):
    """What was recorded: counts or rates of N neurons in S trials of up to T time bins, and what went with
    them.

    **Arguments** (by name; give exactly one of `spikes` and `rates`)

    - `spikes`: (trial, time, neuron), spike counts per bin; whole numbers of any type. Kept as the smallest
      of int8, int16 and int32 that holds them (signed, so that differences of counts are right).
    - `rates`: (trial, time, neuron), rates in Hz. Signals in other units, or negative ones, are taken as
      they are; kept in their own float type.
    - `bin_width`: the width of a time bin in **seconds** (10 ms is 0.01).
    - `lengths`: (trial,), number of valid bins of each trial; None if all are valid. What stands beyond is
      padding: it is never looked at and set to 0.
    - `inputs`: (trial, time, input), the external input in each bin, or None.
    - `choices`: (trial,), whole numbers such as 0 (left) and 1 (right), or None.
    - `neurons`: names of the neurons, or None.
    - `info`: further values of each trial by name, arrays with the trial as first axis, or None.
    - `axes`: the order of the axes of `spikes` or `rates`, such as `("neuron", "trial", "time")`; what is
      said here is believed. By default (trial, time, neuron), and arrays that contradict it are refused.
    - `drop_constant`: leave out neurons whose signal never changes, rather than refuse them.
    - `plausible_rates`: lowest and highest mean rate in Hz over the neurons that spikes may have: the
      commonest failure is a bin width in the wrong unit, 1000 times off.
    - `notes`: sentences on where this is from, which are printed with it.

    `spikes`, `rates` and `inputs` may also be a list with the (time, neuron) array, sparse matrix or table of
    each trial, from which the lengths are taken; a masked array whose masks are the padding; a labelled
    array, whose dimensions are sorted by name; a torch tensor.

    **Raises** `ValueError` for swapped axes, a bin width in the wrong unit, implausible rates, NaN, infinite,
    negative or fractional counts, trials of fewer than two bins, lengths beyond the array, inputs or choices
    of another length, fewer than two trials, constant neurons, values masked within trials; `TypeError` for
    float16, quantities with a unit, or anything but numbers.

    All arrays are numpy arrays. The first axis of each is the trial.

    >>> counts = np.random.default_rng(0).poisson(0.1, (20, 50, 3))
    >>> Recording(spikes=counts, bin_width=0.01, lengths=[50, 30] * 10)
    Recording: spikes of 3 neurons in 20 trials
    bins     0.01 s (10 ms); trials of 0.3 to 0.5 s, median 0.4 s
    rates    median 10.5 Hz, from 9.88 to 10.6 Hz
    inputs   none; choices none
    """

    spikes: Int[np.ndarray, "trial time neuron"] | None
    rates: Float[np.ndarray, "trial time neuron"] | None
    lengths: Int[np.ndarray, " trial"]
    inputs: Float[np.ndarray, "trial time input"] | None
    choices: Int[np.ndarray, " trial"] | None
    info: dict[str, Shaped[np.ndarray, "trial ..."]]
    bin_width: float = eqx.field(static=True)
    neurons: tuple[str, ...] | None = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        *,
        spikes: ArrayLike | None = None,
        rates: ArrayLike | None = None,
        bin_width=BIN_WIDTH,
        lengths: ArrayLike | None = None,
        inputs: ArrayLike | None = None,
        choices: ArrayLike | None = None,
        neurons: ArrayLike | None = None,
        info=None,
        axes=None,
        drop_constant: bool = False,
        plausible_rates=PLAUSIBLE_RATES,
        notes=(),
    ):
        if (spikes is None) == (rates is None):
            found = "neither" if spikes is None else "both"
            raise ValueError(f"recording: expected either `spikes` or `rates`, got {found}")
        self.bin_width = validation.seconds(bin_width)
        name = "spikes" if rates is None else "rates"
        lengths, choices = _containers.plain("lengths", lengths), _containers.plain("choices", choices)
        given = _containers.signal(name, spikes if rates is None else rates, lengths, axes)
        validation.in_steps(given.step, self.bin_width)
        heard = None if inputs is None else _containers.signal("inputs", inputs, lengths)
        signal = np.asarray(checks.array(name, given.array, validation.AXES, padded=True))
        if 0 in signal.shape:
            raise ValueError(
                f"{name}: expected trials, time bins and neurons, got the empty shape {signal.shape}"
            )
        sure = given.sure or not (lengths is inputs is neurons is None)
        if not given.sure:
            validation.in_order(
                name, signal, lengths, None if heard is None else heard.array, choices, neurons
            )
        lengths = validation.one_length(name, lengths, given.lengths)
        neurons = given.neurons if neurons is None else neurons
        n_trials, n_time, n_neurons = signal.shape
        if n_trials < 2:
            raise ValueError(
                f"{name}: expected at least two trials, got one (shape {signal.shape} of (trial, time, "
                "neuron)): cut a continuous recording into trials"
            )
        self.lengths = checks.lengths(lengths, n_trials, n_time)
        mask = checks.inside(self.lengths, n_time)
        self.neurons = validation.names(neurons, n_neurons)
        self.choices = None if choices is None else validation.whole_numbers("choices", choices, n_trials)
        self.inputs = None if heard is None else validation.inputs(heard, self.lengths, mask)
        self.info = {
            key: validation.per_trial(f"info['{key}']", value, n_trials)
            for key, value in dict(info or {}).items()
        }
        signal = validation.without_padding(name, signal, mask, fresh=given.fresh)
        self.spikes = self.rates = None
        if name == "spikes":
            self.spikes = validation.counts(signal, fresh=given.fresh or not mask.all())
        else:
            self.rates = signal if np.issubdtype(signal.dtype, np.floating) else signal.astype(np.float32)
        self.notes = tuple(notes)
        constant = validation.constant(self.signal, mask)
        if constant.any():
            if not drop_constant or constant.all():
                raise ValueError(validation.constant_message(name, constant, self._labels()))
            kept = np.flatnonzero(~constant)
            self.neurons = tuple(self._labels()[i] for i in kept)
            self.spikes = None if self.spikes is None else validation.compacted(self.spikes, kept)
            self.rates = None if self.rates is None else self.rates[:, :, kept]
        if name == "spikes":
            validation.plausible(float(self.mean_rates.mean()), self.bin_width, plausible_rates)
            hint = None if sure else validation.neurons_last(self.spikes)
            self.notes += () if hint is None else (hint,)

    # --- sizes and derived quantities

    @property
    def counts(self) -> Int[np.ndarray, "trial time neuron"]:
        """The spikes. **Raises** `ValueError` for a recording of rates."""
        if self.spikes is None:
            raise ValueError("recording: expected spikes, got rates")
        return self.spikes

    @property
    def signal(self) -> Shaped[np.ndarray, "trial time neuron"]:
        """The spikes or the rates, whichever were recorded."""
        return self.counts if self.rates is None else self.rates

    @property
    def n_trials(self) -> int:
        """S."""
        return self.signal.shape[0]

    @property
    def n_time(self) -> int:
        """T, the bins of the longest trial or more."""
        return self.signal.shape[1]

    @property
    def n_neurons(self) -> int:
        """N."""
        return self.signal.shape[2]

    @property
    def n_inputs(self) -> int:
        """K."""
        return 0 if self.inputs is None else self.inputs.shape[2]

    @property
    def times(self) -> Float[np.ndarray, " time"]:
        """Start of each bin in seconds from the start of the trial."""
        return np.arange(self.n_time) * self.bin_width

    @property
    def mask(self) -> Bool[np.ndarray, "trial time"]:
        """Where the trials are: True in valid bins, False in padding."""
        return checks.inside(self.lengths, self.n_time)

    @property
    def mean_rates(self) -> Float[np.ndarray, " neuron"]:
        """Mean rate of each neuron over all valid bins, in Hz."""
        mean = self.signal.sum(axis=(0, 1), dtype=np.float64) / self.lengths.sum()
        return mean / self.bin_width if self.rates is None else mean

    @property
    def constant(self) -> Bool[np.ndarray, " neuron"]:
        """Which neurons' signal never changes within the trials."""
        return validation.constant(self.signal, self.mask)

    def psth(self, chosen: ArrayLike | None = None, *, sigma=0.05, least=5) -> tuple[np.ndarray, np.ndarray]:
        r"""Peri-stimulus time histogram: the mean over trials of the smoothed rate, and its standard error,
        in Hz.

        Each trial is smoothed with the past half of a Gaussian, $w_k\propto e^{-(k\,\Delta t)^2/2\sigma^2}$
        for $k\ge0$, so that nothing is seen before it happens, over its own bins; the mean at a time is over
        the trials that last till then.

        **Arguments**

        - `chosen`: the trials, as for `trials`; all by default.
        - `sigma`: in seconds; 0 for none.
        - `least`: NaN where fewer trials than this last; 2 or more.

        **Returns** mean and standard error, each (time, neuron).

        **Raises** `ValueError` as `trials`, and for fewer than `least` trials.

        >>> counts = np.random.default_rng(0).poisson(0.1, (200, 50, 3))
        >>> mean, error = Recording(spikes=counts, bin_width=0.01).psth()
        >>> mean.shape, bool((np.abs(mean - 10) < 5 * error).all())
        ((50, 3), True)
        """
        sigma = checks.positive("sigma", sigma, zero=True)
        least = checks.count("least", least, least=2)
        some = self if chosen is None else self.trials(chosen)
        if some.n_trials < least:
            raise ValueError(f"chosen: expected at least {least} trials, got {some.n_trials}")
        lag = (np.arange(some.n_time)[:, None] - np.arange(some.n_time)) * self.bin_width
        weights = np.where(lag >= 0, np.exp(-0.5 * (lag / max(sigma, 1e-9)) ** 2), 0).astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        unit = 1 if self.spikes is None else self.bin_width
        smooth = np.matmul(weights, some.signal.astype(np.float32)) / unit
        lasting = some.mask.sum(axis=0)[:, None]
        n = np.where(lasting >= least, lasting, np.nan)
        mask = some.mask[:, :, None]
        mean = np.sum(smooth, axis=0, where=mask) / n
        variance = np.sum((smooth - mean) ** 2, axis=0, where=mask) / (n - 1)
        return mean, np.sqrt(variance / n)

    # --- selections

    def trials(self, indices: ArrayLike) -> "Recording":
        """The recording of some trials: indices, a slice or a boolean mask (trial,), in the order given.

        Neurons that are silent in these trials stay; `.drop_constant()` removes them.

        **Raises** `ValueError` for no trial, an index beyond the trials or a mask of another length.
        """
        chosen = validation.selection("trials", indices, self.n_trials)
        return jax.tree.map(lambda x: x[chosen], self)

    def select_neurons(self, indices: ArrayLike) -> "Recording":
        """The recording of some neurons: indices, a slice or a boolean mask (neuron,), in the order given.

        **Raises** `ValueError` for no neuron, an index beyond the neurons or a mask of another length.
        """
        chosen = validation.selection("neurons", indices, self.n_neurons)
        names = None if self.neurons is None else tuple(self.neurons[i] for i in chosen)
        name = "spikes" if self.rates is None else "rates"
        new = eqx.tree_at(lambda r: getattr(r, name), self, self.signal[:, :, chosen])
        # The names are no leaf of the tree, so that tree_at does not reach them.
        object.__setattr__(new, "neurons", names)
        return new

    def drop_constant(self) -> "Recording":
        """The recording without the neurons whose signal never changes within the trials.

        **Raises** `ValueError` when no neuron is left.
        """
        constant = self.constant
        if constant.all():
            name = "spikes" if self.rates is None else "rates"
            raise ValueError(validation.constant_message(name, constant, self._labels()))
        return self.select_neurons(~constant)

    # --- what it is, for people

    def summary(self) -> str:
        """A block of four lines: sizes, bins in seconds, rates in Hz, inputs and choices; then notes, the
        first six."""
        seconds = self.lengths * self.bin_width
        rates = self.mean_rates
        kind = "spikes" if self.rates is None else "rates"
        choices = "none"
        if self.choices is not None:
            labels, numbers = np.unique(self.choices, return_counts=True)
            choices = ", ".join(f"{label}: {n}" for label, n in zip(labels[:6], numbers[:6], strict=True))
        notes = self.notes
        if len(notes) > 6:
            notes = (*notes[:5], f"{len(notes) - 5} more: see recording.notes")
        return (
            f"Recording: {kind} of {self.n_neurons} neurons in {self.n_trials} trials\n"
            f"bins     {self.bin_width:g} s ({1000 * self.bin_width:g} ms); trials of {seconds.min():.3g} to "
            f"{seconds.max():.3g} s, median {np.median(seconds):.3g} s\n"
            f"rates    median {np.median(rates):.3g} Hz, from {rates.min():.3g} to {rates.max():.3g} Hz\n"
            f"inputs   {self.n_inputs or 'none'}; choices {choices}"
        ) + "".join(f"\nnote     {note}" for note in notes)

    def __repr__(self) -> str:
        return self.summary()

    def report(self, *, tau=None) -> Report:
        """What came in and what looks wrong with it, before any model: a line for each finding, with what to
        do.

        Silent and constant neurons, neurons with few spikes, all alike, or copies of one; slow drift and
        jumps over trials; trials that are unusual, of a level of their own, repeated, overlapping, cut at
        the array's end or padded without a word; inputs that never change, choices of one kind, conditions
        that stand in order; bins that are longer than `tau`, spikes faster than a neuron can fire, bins
        in which nearly all neurons spike. One clean recording in a hundred has a word about chance.

        - `tau`: the time constant in seconds that a model will have, to compare the bins with.

        **Returns** a `Report`: prints as a table, has what was found as numbers, and a picture,
        `lr.plots.recording(report)`.

        >>> counts = np.random.default_rng(0).poisson(0.1, (40, 50, 8))
        >>> counts[:, :, 5] = counts[:, :, 2]
        >>> Recording(spikes=counts, bin_width=0.01).report()
        Report: spikes of 8 neurons in 40 trials: 1 found
        duplicates 2 neurons are copies of one another (2 = 5): keep one of each, ...
        """
        return examine(self, tau=tau)

    # --- readers

    @classmethod
    def from_npz(
        cls,
        path: str | os.PathLike,
        *,
        key: str | None = None,
        bin_width=None,
        axes=None,
        coding=None,
        drop_constant: bool = False,
        plausible_rates=PLAUSIBLE_RATES,
    ) -> "Recording":
        """Read an `.npz` as the FINDR and Connector codes of the field write it.

        Keys: `spikes` or `rates` (trial, time, neuron); optional `externalinputs` (trial, time, input; all
        NaN: none), `lengths` (trial,) in bins, `choices` (trial,; all NaN: none), the width of a bin in
        seconds (`bin_width`, `bin_size` or `dt`; `bin_width_ms` and such in milliseconds; `fs` or
        `sampling_rate` in bins a second), and `times`. In FINDR's files `times` is (trial,), the onset of
        each trial, and is kept as `info["onsets"]`. Files that hold a time axis there, evenly spaced (time,),
        give the bin width by it, in seconds, or in samples where the sampling rate stands beside.

        **Arguments**

        - `key`: `"spikes"` or `"rates"`, needed where a file holds both.
        - `bin_width`: in seconds; default is what the file says, else 0.01, as in those codes.
        - `axes`: the order of the axes of `spikes` or `rates`, if it is another; what is said is believed.
        - `coding`: as for `from_nwb`.
        - `drop_constant`, `plausible_rates`: as for the recording.

        Trials without a choice are left out, with a warning that counts them.

        **Raises** `FileNotFoundError`; `ValueError`, naming the file, for one that is no `.npz`, is
        truncated, has neither key, says of its bins what contradicts itself or `bin_width`, has `times` that
        may be both onsets and an axis, or numbers of bins, while no bin width is known, or what a recording
        refuses.

        Source: README of github.com/Brody-Lab/findr; `train.py` of github.com/AllenInstitute/connector.
        """
        found = readers.npz(os.path.expanduser(path), key=key, bin_width=bin_width, axes=axes, coding=coding)
        return cls._read(path, found, drop_constant=drop_constant, plausible_rates=plausible_rates)

    @classmethod
    def from_mat(
        cls,
        path: str | os.PathLike,
        *,
        coding=None,
        drop_constant: bool = False,
        plausible_rates=PLAUSIBLE_RATES,
    ) -> "Recording":
        """Read a published session of rats in the Poisson-Clicks task, 10 ms bins from the stereo click on.

        `inputs` (trial, time, 2) are the numbers of left and right clicks in each bin. The stereo click that
        opens a trial stands in both, in bin 0, as it does in the files; clicks after the trial's last bin are
        left out; a session without any has no inputs. `choices` are 0 (left) and 1 (right). `info` has
        `gamma`, the log ratio of right to left click rate, and `onsets`, the stereo click's time in the
        session in seconds. Trials with photostimulation, without a choice and of fewer than two bins are left
        out, with a warning that counts them. Files of version 7.3 need h5py.

        **Arguments**

        - `coding`: as for `from_nwb`.
        - `drop_constant`, `plausible_rates`: as for the recording.

        **Raises** `FileNotFoundError`; `ImportError` without h5py; `ValueError`, naming the file, for one
        that is truncated, of another kind, without usable trials, or with what a recording refuses.

        Source: format of github.com/Brody-Lab/decision_dynamics_commitment, for Luo, Kim et al. (2025),
        Nature.
        """
        found = readers.mat(os.path.expanduser(path), coding=coding)
        return cls._read(path, found, drop_constant=drop_constant, plausible_rates=plausible_rates)

    @classmethod
    def from_nwb(
        cls,
        path: str | os.PathLike,
        *,
        bin_width=BIN_WIDTH,
        align: str | None = None,
        window=None,
        choice: str | None = "choice",
        coding=None,
        clicks=("left_clicks", "right_clicks"),
        inputs=(),
        photostimulus: str | None = "photostimulation",
        neurons: str | None = "unit_name",
        units=None,
        trials=None,
        intervals: str = "trials",
        time_units=None,
        validity: bool = True,
        drop_constant: bool = False,
        plausible_rates=PLAUSIBLE_RATES,
    ) -> "Recording":
        """Read a session in an NWB file: spikes of its units in the bins of its trials; needs
        `pip install "lrcore[nwb]"`.

        A trial runs from `start_time` to `stop_time` of the trials table, or over a window around an event,
        in whole bins; what is left at its end is not read. Units are read one by one. `info["onsets"]` are
        the times at which the bins begin, and `info["gamma"]` is the column of that name, where there is one.

        All times are seconds of the session, as NWB has them: spikes and events reach beyond the first trial
        and not far past the last. Spike times in samples, in milliseconds or in Unix time are converted where
        the file states its sampling rate, describes them so, or by its reference time, with a warning; events
        counted from the start of the trial, where their column is described so. Other clocks are refused by
        name. A time counts as on the edge of a bin if it is as near as its numbers can tell.

        **Arguments**

        - `bin_width`: in seconds.
        - `align`: the event at time 0, instead of the start: a column of the trials table with its time in
          each trial, or events anywhere in the file, of which the first in a trial counts; a signal is
          refused. Times of a column lie in their own trial or near it; NaN, 0 or -1 is for none.
        - `window`: (before, after) that event in seconds, such as (-0.5, 1.5); None for the event itself, and
          for the trial's end.
        - `choice`: the column of choices, None for none. Left or right, -1 or 1, false or true, or two other
          words or numbers become 0 and 1, and `notes` and `info` say what was what; 0 between -1 and 1 is no
          choice; numbers of more kinds are counted in `notes`, and refused if one is negative. Without the
          usual column there are no choices, another one must be there; trials where it is empty, NaN or a
          word such as "miss" are left out.
        - `coding`: what number stands for which value of that column, such as `{"A": 0, "B": 1}`; other
          values are then no choice.
        - `clicks`: names of the events that are the first inputs, one input each, in counts: a ragged column
          of the trials table, or anything in the file with that name and with times, such as a `TimeSeries`
          in `stimulus` or a table of events. Where the file has none of them, there are none.
        - `inputs`: names of further inputs, which the file must have. Events, a `TimeSeries` of ones at
          uneven times, and starts of an `IntervalSeries` are counted; of another `TimeSeries` each channel is
          averaged in each bin, or taken between its samples; trials in which it has gaps are left out.
          `"container/name"` where a name stands twice.
        - `photostimulus`: a column that is true, or not NaN, or a word other than "none", "no" and "off", in
          trials to leave out.
        - `neurons`: the column of the units table that names them; without it, the units' ids.
        - `units`, `trials`: which to read: indices or a mask; or, for columns by name, a value, a list of
          values, or a function of the column, such as `{"quality": "good", "snr": lambda x: x > 2}`. For
          units, columns of their electrodes count too.
        - `intervals`: the table of intervals that are the trials.
        - `time_units`: seconds in a unit of the file's times, where it departs from NWB: one number, or
          `{"spikes": 0.001}` for spikes in milliseconds, and so for trials and events. What is said is
          believed.
        - `validity`: leave out trials in `invalid_times`, trials in which a unit was not observed
          (`obs_intervals`), those that begin before the session's zero, and those before the first spike of
          any unit or after the last, where silence cannot be chance.
        - `drop_constant`, `plausible_rates`: as for the recording.

        What is left out is counted: in a warning and in `notes` for trials, in `notes` for units.

        **Raises** `ImportError` without pynwb; `FileNotFoundError`; `ValueError`, naming the file, for one
        that is truncated, of another kind, without units, without trials, with times on another clock or too
        coarse for the bins, without what is asked for by name, with choices of which it is not clear which is
        which, or with what a recording refuses.

        Source: the NWB format, nwb-schema.readthedocs.io.
        """
        found = readers.nwb(
            os.path.expanduser(path),
            intervals=intervals,
            bin_width=validation.seconds(bin_width),
            align=align,
            window=window,
            choice=choice,
            coding=coding,
            clicks=clicks,
            inputs=inputs,
            photostimulus=photostimulus,
            neurons=neurons,
            units=units,
            trials=trials,
            time_units=time_units,
            validity=validity,
        )
        return cls._read(path, found, drop_constant=drop_constant, plausible_rates=plausible_rates)

    @classmethod
    def from_pynapple(
        cls,
        units,
        trials,
        *,
        bin_width=BIN_WIDTH,
        align=None,
        window=None,
        choice: str | None = "choice",
        coding=None,
        inputs=(),
        photostimulus: str | None = "photostimulation",
        neurons: str | None = "unit_name",
        time_units=None,
        drop_constant: bool = False,
        plausible_rates=PLAUSIBLE_RATES,
    ) -> "Recording":
        """Spikes of a pynapple `TsGroup` in the bins of the trials that are an `IntervalSet`; needs
        `pip install "lrcore[pynapple]"`.

        Columns of the trials and names of the units are their metadata. Trials beyond the time support of the
        units, where that is more than their spikes, are left out. Everything else is as in `from_nwb`.

        **Arguments**

        - `units`: a `TsGroup`; `units[units.quality == "good"]` selects.
        - `trials`: an `IntervalSet`.
        - `align`: a column of the trials with times, or a `Ts`.
        - `inputs`: columns of the trials with times of events or `Ts`, counted; `Tsd` or `TsdFrame`,
          averaged. Trials beyond the time support of a `Ts` are left out.
        - others: as for `from_nwb`.

        **Raises** `ImportError` without pynapple; `TypeError` for other objects; `ValueError` as `from_nwb`.

        Source: pynapple.org.
        """
        found = readers.pynapple(
            units,
            trials,
            bin_width=validation.seconds(bin_width),
            align=align,
            window=window,
            choice=choice,
            coding=coding,
            inputs=inputs,
            photostimulus=photostimulus,
            neurons=neurons,
            time_units=time_units,
        )
        return cls._read("pynapple", found, drop_constant=drop_constant, plausible_rates=plausible_rates)

    @classmethod
    def _read(cls, path, found, **options) -> "Recording":
        """The recording of what a reader found; warns of what it left out."""
        told = found.pop("told", ())
        for note in told:
            # Two frames up is the caller of `from_npz` and its like.
            warnings.warn(f"{path}: {note}", UserWarning, stacklevel=3)
        with readers.naming(path):
            return cls(**found | {"notes": (*told, *found.get("notes", ()))}, **options)

    def _labels(self) -> tuple[str, ...]:
        return self.neurons or tuple(str(i) for i in range(self.n_neurons))
