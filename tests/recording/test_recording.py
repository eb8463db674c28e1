"""Recordings: what is kept, what is refused, and what the readers make of files."""

import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcore import datasets
from lrcore.recording import Recording

S, T, N, K = 12, 30, 5, 2
LENGTHS = np.arange(S) % 11 + 20


def counts(seed=0, shape=(S, T, N), rate=0.2):
    """Counts whose neurons differ in rate, as recorded ones do."""
    rng = np.random.default_rng(seed)
    spikes = rng.poisson(rate * np.linspace(0.4, 2.0, shape[2]), shape)
    spikes[0, :2] = [[0], [1]]
    return spikes


def parts(**changes):
    """The arguments of a recording with everything."""
    rng = np.random.default_rng(1)
    found = {
        "spikes": counts(),
        "bin_width": 0.01,
        "lengths": LENGTHS,
        "inputs": rng.poisson(0.3, (S, T, K)),
        "choices": np.arange(S) % 2,
    }
    return found | changes


# --- what is kept


def test_a_recording_keeps_what_it_is_given():
    recording = Recording(**parts())
    mask = np.arange(T) < LENGTHS[:, None]
    assert (recording.n_trials, recording.n_time, recording.n_neurons, recording.n_inputs) == (S, T, N, K)
    np.testing.assert_array_equal(recording.mask, mask)
    np.testing.assert_array_equal(recording.spikes[mask], counts()[mask])
    assert not recording.spikes[~mask].any() and not recording.inputs[~mask].any()
    np.testing.assert_allclose(recording.times, np.arange(T) * 0.01)
    np.testing.assert_allclose(recording.mean_rates, counts()[mask].sum(axis=0) / mask.sum() / 0.01)


def test_the_summary_has_seconds_and_hertz():
    text = repr(Recording(**parts()))
    assert text == Recording(**parts()).summary()
    assert len(text.splitlines()) == 4
    for part in (
        "5 neurons in 12 trials",
        "0.01 s (10 ms)",
        "0.2 to 0.3 s",
        "Hz, from",
        "inputs   2",
        "0: 6, 1: 6",
    ):
        assert part in text


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "float32", "float64"])
def test_any_type_of_whole_counts(kind):
    spikes = np.minimum(counts(), 1).astype(kind)
    recording = Recording(**parts(spikes=spikes))
    assert recording.spikes.dtype == np.int8
    np.testing.assert_array_equal(recording.spikes, np.where(recording.mask[:, :, None], spikes, 0))


@pytest.mark.parametrize(("most", "kind"), [(127, "int8"), (128, "int16"), (40_000, "int32")])
def test_counts_are_stored_in_the_smallest_signed_type(most, kind):
    spikes = counts()
    spikes[3, 4, 1] = most
    assert Recording(**parts(spikes=spikes, plausible_rates=(0, 1e9))).spikes.dtype == kind


@pytest.mark.parametrize("kind", ["int64", "float32", "float64"])
def test_rates_may_be_of_any_sign_and_keep_their_type(kind):
    rates = (np.random.default_rng(0).normal(0, 9, (S, T, N))).astype(kind)
    recording = Recording(rates=rates, lengths=LENGTHS)
    assert recording.rates.dtype == (np.float32 if kind == "int64" else np.dtype(kind))
    mask = np.arange(T) < LENGTHS[:, None]
    np.testing.assert_allclose(recording.mean_rates, rates[mask].mean(axis=0), rtol=1e-5)
    assert "rates of 5 neurons" in repr(recording)


def test_jax_arrays_and_lists_are_read():
    spikes = jax.numpy.asarray(counts())
    np.testing.assert_array_equal(Recording(spikes=spikes).spikes, Recording(spikes=counts().tolist()).spikes)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    garbage=st.sampled_from([np.nan, np.inf, -1.0, 0.5, 1e9]),
    shortest=st.integers(2, 20),
)
def test_padding_never_matters(seed, garbage, shortest):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, T + 1, S)
    lengths[0] = T
    beyond = np.arange(T) >= lengths[:, None]
    spikes, inputs = counts(seed).astype(float), rng.normal(size=(S, T, K))
    clean = Recording(spikes=spikes, inputs=inputs, lengths=lengths)
    spikes[beyond], inputs[beyond] = garbage, np.nan
    dirty = Recording(spikes=spikes, inputs=inputs, lengths=lengths)
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (clean.mask.sum(axis=1) == lengths).all()
    np.testing.assert_array_equal(clean.mean_rates, dirty.mean_rates)


# --- selections


@pytest.mark.parametrize("chosen", [[3, 1], slice(2, 9, 3), np.arange(S) > 8, [-1], 4], ids=str)
def test_selections_of_trials(chosen):
    recording = Recording(**parts(info={"gamma": np.linspace(-1, 1, S)}))
    some = recording.trials(chosen)
    rows = np.atleast_1d(np.arange(S)[chosen])
    assert some.n_trials == len(rows)
    for name in ("spikes", "lengths", "inputs", "choices"):
        np.testing.assert_array_equal(getattr(some, name), getattr(recording, name)[rows])
    np.testing.assert_array_equal(some.info["gamma"], recording.info["gamma"][rows])
    assert some.bin_width == recording.bin_width


def test_selections_of_neurons_keep_their_names():
    recording = Recording(**parts(neurons="abcde"))
    some = recording.select_neurons([4, 0])
    assert some.neurons == ("e", "a") and recording.neurons == tuple("abcde")
    np.testing.assert_array_equal(some.spikes, recording.spikes[:, :, [4, 0]])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([], "at least one, got none"),
        ([S], f"below {S}, got {S}"),
        (np.ones(3, bool), "mask of shape"),
        ([0.5], "indices, a slice or a mask"),
    ],
    ids=["none", "beyond", "short mask", "fraction"],
)
def test_impossible_selections(chosen, message):
    with pytest.raises(ValueError, match=message):
        Recording(**parts()).trials(chosen)


def test_constant_neurons_are_named_and_dropped_on_request():
    spikes = counts()
    spikes[:, :, 1], spikes[:, :, 3] = 0, 2
    # Something in the padding does not make a neuron vary.
    spikes[0, LENGTHS[0] :, 1] = 7
    with pytest.raises(ValueError, match=r"got 2 constant of 5 \(1, 3\): drop them with drop_constant=True"):
        Recording(**parts(spikes=spikes))
    with pytest.raises(ValueError, match=r"\(b, d\)"):
        Recording(**parts(spikes=spikes, neurons="abcde"))
    dropped = Recording(**parts(spikes=spikes, drop_constant=True))
    assert dropped.neurons == ("0", "2", "4")
    np.testing.assert_array_equal(dropped.spikes, Recording(**parts()).spikes[:, :, [0, 2, 4]])
    with pytest.raises(ValueError, match="nothing to analyse"):
        Recording(**parts(spikes=np.zeros((S, T, N)), drop_constant=True))


def test_neurons_silent_in_some_trials_can_be_dropped_later():
    spikes = counts()
    spikes[:4, :, 2] = 0
    few = Recording(**parts(spikes=spikes, neurons="abcde")).trials(slice(0, 4))
    assert few.n_neurons == 5 and few.constant.tolist() == [False, False, True, False, False]
    assert few.drop_constant().neurons == ("a", "b", "d", "e")


# --- what is refused


def changed(at, value):
    spikes = counts().astype(float)
    spikes[at] = value
    return spikes


REFUSED = {
    "neither": ({"spikes": None}, "either `spikes` or `rates`, got neither"),
    "both": ({"rates": counts()}, "either `spikes` or `rates`, got both"),
    "two axes": ({"spikes": counts()[0]}, r"expected axes \(trial, time, neuron\), got an array of shape"),
    "empty": ({"spikes": np.zeros((0, T, N))}, "got the empty shape"),
    "ragged": ({"spikes": [[[1, 2]], [[1, 2], [3, 4]]]}, "ragged sequence: pad unequal trials"),
    "bins in ms": ({"bin_width": 10}, r"expected seconds, at most 1, got 10: .* bin_width=0.01"),
    "bins of zero": ({"bin_width": 0}, "expected a positive finite number"),
    "rates too high": ({"bin_width": 1e-5}, r"got 2.*e\+04 Hz in bins of 1e-05 s.*is it 0.01"),
    "rates too low": (
        {"spikes": counts(rate=0.02), "bin_width": 1.0},
        r"got 0.0\d* Hz in bins of 1 s.*is it 0.001",
    ),
    "nan": (
        {"spikes": changed((2, 3, 1), np.nan)},
        r"1 NaN or infinite of .* index \(2, 3, 1\).*give `lengths`",
    ),
    "infinite": ({"spikes": changed((2, 3, 1), np.inf)}, r"index \(2, 3, 1\)"),
    "negative": ({"spikes": changed((2, 3, 1), -1)}, r"1 negative values, the first -1 at .*\(2, 3, 1\)"),
    "fractional": ({"spikes": changed((2, 3, 1), 0.5)}, r"1 fractional values, .*give rates as `rates`"),
    "length 0": ({"lengths": np.where(np.arange(S) == 3, 0, 30)}, "at least 2 time bins .* got 0 in trial 3"),
    "length 1": ({"lengths": np.where(np.arange(S) == 3, 1, 30)}, "at least 2 time bins .* got 1 in trial 3"),
    "length beyond": ({"lengths": np.where(np.arange(S) == 3, 31, 30)}, "at most 30, .* got 31 in trial 3"),
    "lengths of seconds": ({"lengths": LENGTHS * 0.013}, "give bins, not seconds"),
    "lengths of other trials": (
        {"lengths": [T] * (S + 1), "choices": None, "inputs": None},
        "one length for each",
    ),
    "inputs of another length": (
        {"inputs": np.zeros((S, T - 1, K))},
        "expected 30 along the axis 'time'.*got 29",
    ),
    "inputs without axis": ({"inputs": np.zeros((S, T))}, r"add the axis, inputs\[:, :, None\]"),
    "inputs nan": ({"inputs": np.full((S, T, K), np.nan)}, "inputs: expected finite"),
    "choices of other trials": ({"choices": np.zeros(S - 1)}, "choices: expected 12 along the axis 'trial'"),
    "choices fractional": ({"choices": np.full(S, 0.5)}, "choices: expected whole numbers, got 0.5"),
    "names": ({"neurons": "abc"}, "expected 5 names, one for each neuron"),
    "info": ({"info": {"gamma": [1, 2]}}, r"info\['gamma'\]: expected a value for each of the 12 trials"),
    "one trial": (
        {"spikes": counts()[:1], "lengths": None, "inputs": None, "choices": None},
        "two trials, got one",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recording(**parts(**changes))


@pytest.mark.parametrize("kind", ["float16", "complex64", "object", "str"])
def test_other_numbers_are_refused(kind):
    with pytest.raises(TypeError, match=r"expected real numbers in float32 or float64, got .*: convert"):
        Recording(spikes=counts().astype(kind))


EVIDENCE = {
    "lengths": {"inputs": None, "choices": None},
    "inputs": {"lengths": None, "choices": None},
    "names": {"inputs": None, "choices": None, "lengths": None, "neurons": "abcde"},
    "all": {},
}
ORDERS = {
    "(neuron, trial, time)": ((2, 0, 1), "move the neuron axis last"),
    "(trial, neuron, time)": ((0, 2, 1), "move the neuron axis last"),
    "(time, trial, neuron)": ((1, 0, 2), "move the trial axis first"),
    "(neuron, time, trial)": ((2, 1, 0), "move the neuron axis last"),
    "(time, neuron, trial)": ((1, 2, 0), "move the neuron axis last"),
}


# Names of neurons say nothing about the other two axes.
TOLD = [(e, o) for e in EVIDENCE for o in ORDERS if (e, o) != ("names", "(time, trial, neuron)")]


@pytest.mark.parametrize(("evidence", "order"), TOLD)
def test_swapped_axes_are_named(evidence, order):
    axes, advice = ORDERS[order]
    swapped = counts().transpose(axes)
    with pytest.raises(ValueError) as caught:
        Recording(**parts(spikes=swapped, **EVIDENCE[evidence]))
    message = str(caught.value)
    assert message.startswith(f"spikes: expected spikes of shape (trial, time, neuron), got {swapped.shape}")
    assert advice in message
    if evidence != "names":
        back = tuple(int(i) for i in message.split("np.transpose(spikes, (")[1].split(")")[0].split(","))
        np.testing.assert_array_equal(swapped.transpose(back), counts())


def test_swapped_axes_without_anything_to_compare_with():
    spikes = counts(shape=(80, 60, 20))
    Recording(spikes=spikes)
    for axes in ((2, 0, 1), (0, 2, 1), (1, 2, 0)):
        with pytest.raises(
            ValueError, match="move the neuron axis last.*if the axes are right, give `lengths`"
        ):
            Recording(spikes=spikes.transpose(axes))
    # Said to be right, it is taken as right.
    Recording(spikes=spikes.transpose(0, 2, 1), lengths=[20] * 80)


def test_padding_as_long_as_neurons_can_be_cut():
    spikes = counts(shape=(S, 40, 30))
    with pytest.raises(ValueError, match=r"if the axes are right, cut the padding: spikes\[:, :30\]"):
        Recording(spikes=spikes, lengths=LENGTHS)
    assert Recording(spikes=spikes[:, :30], lengths=LENGTHS).n_time == 30


def test_true_rates_beyond_the_plausible_ones_are_admitted_on_request():
    Recording(**parts(bin_width=1e-5, plausible_rates=(0, np.inf)))


# --- npz


def write_npz(path, **changes):
    held = parts(**changes)
    names = {"inputs": "externalinputs"}
    np.savez(path, **{names.get(k, k): v for k, v in held.items() if v is not None and k != "bin_width"})
    return path


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(["int8", "int64", "float32", "float64"]),
    without=st.sets(st.sampled_from(["inputs", "lengths", "choices"])),
)
def test_npz_round_trip(tmp_path_factory, seed, kind, without):
    held = parts(spikes=counts(seed).astype(kind), **dict.fromkeys(without))
    path = write_npz(tmp_path_factory.mktemp("npz") / "session.npz", **held)
    for a, b in zip(
        jax.tree.leaves(Recording(**held)), jax.tree.leaves(Recording.from_npz(path)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_npz_of_rates_without_inputs(tmp_path):
    rates = np.random.default_rng(0).normal(size=(S, T, N))
    nothing = np.full((S, T, N), np.nan)
    path = write_npz(tmp_path / "rates.npz", spikes=None, rates=rates, inputs=nothing, lengths=None)
    recording = Recording.from_npz(path)
    assert recording.inputs is None and recording.bin_width == 0.01
    np.testing.assert_array_equal(recording.rates, rates)


def test_npz_times(tmp_path):
    onsets = np.cumsum(np.random.default_rng(0).uniform(2, 5, S))
    path = write_npz(tmp_path / "onsets.npz", times=onsets)
    np.testing.assert_array_equal(Recording.from_npz(path).info["onsets"], onsets)
    path = write_npz(tmp_path / "axis.npz", times=0.02 * np.arange(T))
    assert Recording.from_npz(path).bin_width == pytest.approx(0.02)
    with pytest.raises(
        ValueError, match=r"axis.npz: expected `times` in steps of the bin width 0.01 s, got .* 0.02"
    ):
        Recording.from_npz(path, bin_width=0.01)
    path = write_npz(tmp_path / "ms.npz", times=20.0 * np.arange(T))
    assert Recording.from_npz(path, bin_width=0.02).bin_width == 0.02
    with pytest.raises(ValueError, match=r"ms.npz: bin_width: expected seconds.*bin_width=0.02"):
        Recording.from_npz(path)


def test_npz_with_neither_or_both_keys(tmp_path):
    path = write_npz(tmp_path / "neither.npz", spikes=None)
    with pytest.raises(
        ValueError, match="neither.npz: expected the key 'spikes' or 'rates', got neither, but lengths"
    ):
        Recording.from_npz(path)
    path = write_npz(tmp_path / "both.npz", rates=counts() / 0.01)
    with pytest.raises(ValueError, match="got both: choose with `key`"):
        Recording.from_npz(path)
    assert Recording.from_npz(path, key="rates").spikes is None
    with pytest.raises(ValueError, match="expected the key 'counts', got spikes"):
        Recording.from_npz(path, key="counts")


def test_npz_refusals_name_the_file(tmp_path):
    path = write_npz(tmp_path / "swapped.npz", spikes=counts().transpose(2, 0, 1))
    with pytest.raises(ValueError, match=r"swapped.npz: spikes: expected spikes of shape"):
        Recording.from_npz(path)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.6, 0.97])
def test_truncated_npz(tmp_path, kept):
    path = write_npz(tmp_path / "short.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(
        ValueError, match=r"short.npz: expected an .npz file with the key 'spikes' or 'rates'"
    ):
        Recording.from_npz(path)


def test_files_that_are_no_npz(tmp_path):
    (tmp_path / "text.npz").write_text("spikes")
    np.save(tmp_path / "array.npy", counts())
    np.savez(tmp_path / "pickled.npz", spikes=np.array([{}, {}], dtype=object))
    for name in ("text.npz", "array.npy", "pickled.npz"):
        with pytest.raises(ValueError, match=f"{name}: expected an .npz file"):
            Recording.from_npz(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none.npz: expected .* got nothing"):
        Recording.from_npz(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="got a folder"):
        Recording.from_npz(tmp_path)


# --- mat, with files of the published format made here


def write_mat(path, n_trials=6, n_neurons=4, **changes):
    """A session file as published, of synthetic numbers."""
    rng = np.random.default_rng(0)
    trials = np.empty(n_trials, dtype=object)
    for i in range(n_trials):
        steps = 20 + i
        trains = np.empty(n_neurons, dtype=object)
        trains[:] = list(rng.poisson(0.3, (n_neurons, steps)).astype(np.uint8))
        trials[i] = {
            "choice": i % 2,
            "clicktimes": {"L": np.array([0.0, 0.015, 0.017, 0.1]), "R": 0.0},
            "gamma": -1.5,
            "ntimesteps": steps,
            "photostimulus_incline_on_s": np.nan,
            "spiketrains": trains,
            "stereoclick_time_s": 3.0 * i,
        } | {key: value(i) for key, value in changes.items() if key != "neurons"}
    neurons = np.empty(n_neurons, dtype=object)
    neurons[:] = [{"brainarea": "mPFC", "neuronindex": j} for j in range(n_neurons)]
    scipy.io.savemat(path, {"trials": trials, "neurons": changes.get("neurons", neurons)})
    return path


def test_mat_session(tmp_path):
    recording = Recording.from_mat(write_mat(tmp_path / "session.mat"))
    assert recording.spikes.shape == (6, 25, 4) and recording.bin_width == 0.01
    np.testing.assert_array_equal(recording.lengths, 20 + np.arange(6))
    np.testing.assert_array_equal(recording.choices, np.arange(6) % 2)
    assert recording.neurons == ("mPFC 0", "mPFC 1", "mPFC 2", "mPFC 3")
    # The stereo click in bin 0 on both sides, two left clicks in bin 1, one in bin 10.
    left, right = recording.inputs[0].T
    np.testing.assert_array_equal(np.flatnonzero(left), [0, 1, 10])
    assert left[1] == 2 and right.sum() == right[0] == 1
    np.testing.assert_array_equal(recording.info["onsets"], 3.0 * np.arange(6))
    np.testing.assert_array_equal(recording.info["gamma"], np.full(6, -1.5))


def test_mat_leaves_out_photostimulated_and_empty_trials(tmp_path):
    path = write_mat(
        tmp_path / "light.mat", photostimulus_incline_on_s=lambda i: 0.1 if i in (1, 4) else np.nan
    )
    with pytest.warns(UserWarning, match="light.mat: left out of 6 trials 2 with photostimulation"):
        recording = Recording.from_mat(path)
    np.testing.assert_array_equal(recording.lengths, [20, 22, 23, 25])
    path = write_mat(tmp_path / "dark.mat", photostimulus_incline_on_s=lambda i: 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="expected at least two usable trials, got 0 of 6"):
            Recording.from_mat(path)


def test_mat_with_one_neuron_and_late_clicks(tmp_path):
    path = write_mat(
        tmp_path / "one.mat", n_neurons=1, clicktimes=lambda i: {"L": 0.0, "R": np.array([0.0, 0.99])}
    )
    recording = Recording.from_mat(path)
    assert recording.n_neurons == 1 and (recording.inputs.sum(axis=(1, 2)) == 2).all()


def test_mat_without_clicks_or_with_one_choice(tmp_path):
    nothing = {"L": np.zeros(0), "R": np.zeros(0)}
    path = write_mat(tmp_path / "quiet.mat", clicktimes=lambda i: nothing, choice=lambda i: 1)
    recording = Recording.from_mat(path)
    assert recording.inputs is None and (recording.choices == 1).all()


def test_small_mat_sessions_and_silent_neurons(tmp_path):
    recording = Recording.from_mat(write_mat(tmp_path / "small.mat", n_trials=20, n_neurons=5))
    assert recording.spikes.shape == (20, 39, 5)

    def trains(i):
        found = np.empty(3, dtype=object)
        found[:] = [np.arange(20 + i) % 5 == j for j in range(2)] + [np.zeros(20 + i)]
        return found

    path = write_mat(tmp_path / "silent.mat", n_neurons=3, spiketrains=trains)
    with pytest.raises(ValueError, match=r"silent.mat: .*1 constant of 3 \(mPFC 2\).*drop_constant=True"):
        Recording.from_mat(path)
    assert Recording.from_mat(path, drop_constant=True).neurons == ("mPFC 0", "mPFC 1")


def test_wrong_mat(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"weights": np.ones(3)})
    with pytest.raises(ValueError, match="other.mat: expected .* got the variables weights"):
        Recording.from_mat(tmp_path / "other.mat")
    scipy.io.savemat(tmp_path / "numbers.mat", {"trials": np.ones(3), "neurons": np.ones(2)})
    with pytest.raises(ValueError, match="numbers.mat: expected trials with choice, clicktimes"):
        Recording.from_mat(tmp_path / "numbers.mat")
    path = write_mat(tmp_path / "steps.mat", ntimesteps=lambda i: 3)
    with pytest.raises(ValueError, match="20 bins where ntimesteps is 3"):
        Recording.from_mat(path)
    (tmp_path / "text.mat").write_text("not MATLAB at all, but a long enough text " * 10)
    with pytest.raises(ValueError, match="text.mat: expected a MATLAB session file"):
        Recording.from_mat(tmp_path / "text.mat")
    # Version 7.3 is HDF5 behind a MATLAB header.
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "hdf5.mat").write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(500))
    with pytest.raises(ValueError, match="hdf5.mat: expected .* got version 7.3"):
        Recording.from_mat(tmp_path / "hdf5.mat")
    with pytest.raises(FileNotFoundError, match="none.mat: expected a MATLAB session file"):
        Recording.from_mat(tmp_path / "none.mat")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.02, 0.2, 0.5, 0.9, 0.999])
def test_truncated_mat(tmp_path, kept):
    path = write_mat(tmp_path / "short.mat")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="short.mat: expected a MATLAB session file"):
        Recording.from_mat(path)


# --- time courses


def test_psth_is_the_mean_over_the_trials_that_last():
    recording = Recording(**parts())
    mean, error = recording.psth(sigma=0, least=2)
    for t in (0, 19, 25):
        lasting = recording.spikes[recording.lengths > t, t] / 0.01
        np.testing.assert_allclose(mean[t], lasting.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(error[t], lasting.std(axis=0, ddof=1) / len(lasting) ** 0.5, rtol=1e-4)
    few = np.array([(recording.lengths > t).sum() < 5 for t in range(T)])
    assert (np.isnan(recording.psth()[0]).all(axis=1) == few).all() and few.any()


def test_psth_looks_back_only():
    spikes = counts()
    spikes[:, 12:] = 0
    spikes[:, 12] = 3
    whole = np.full(S, T)
    mean, _ = Recording(spikes=spikes, lengths=whole).psth(sigma=0.02)
    before, _ = Recording(spikes=counts(), lengths=whole).psth(sigma=0.02)
    np.testing.assert_allclose(mean[:12], before[:12], rtol=1e-5)
    # Half a Gaussian: highest when the spike comes, and falling from there.
    assert (np.diff(mean[12:20], axis=0) < 0).all()
    constant = Recording(rates=np.full((6, T, 1), 7.0) + np.arange(6)[:, None, None])
    np.testing.assert_allclose(constant.psth(sigma=0.1)[0], 9.5, rtol=1e-5)
    with pytest.raises(ValueError, match="chosen: expected at least 5 trials, got 2"):
        constant.psth([0, 1])


# --- nwb, with files made here

CLICKS = ("left_clicks", "right_clicks")


def write_nwb(path, recording, *, onsets, clicks=CLICKS, names=True, choice=float, trials=True, **columns):
    """The recording as an NWB file: each count as so many times within its bin."""
    pynwb = pytest.importorskip("pynwb")
    width = recording.bin_width
    file = pynwb.NWBFile(
        session_description="a session",
        identifier="one",
        session_start_time=datetime(2020, 1, 1, tzinfo=UTC),
    )

    def times(counts):
        """Times in the session of counts (trial, time), a list for each trial."""
        found = []
        for onset, row in zip(onsets, counts, strict=True):
            # The stereo click of a trial comes when the trial does.
            bins = np.repeat(np.arange(len(row)), row.astype(int))
            found.append(onset + width * np.where(bins == 0, 0, bins + 0.3))
        return found

    if names:
        file.add_unit_column("unit_name", "brain area and number")
    for i in range(recording.n_neurons):
        name = {"unit_name": recording.neurons[i]} if names else {}
        file.add_unit(spike_times=np.concatenate(times(recording.spikes[:, :, i])), **name)
    sides = [times(recording.inputs[:, :, k]) for k in range(2)]
    if clicks == "series":
        for name, side in zip(CLICKS, sides, strict=True):
            stamps = np.concatenate(side)
            file.add_stimulus(
                pynwb.TimeSeries(name=name, data=np.ones(len(stamps)), unit="click", timestamps=stamps)
            )
    elif clicks:
        columns |= dict(zip(clicks, sides, strict=True))
    columns |= {"choice": [choice(c) for c in recording.choices], "gamma": recording.info["gamma"]}
    for name, values in columns.items() if trials else ():
        file.add_trial_column(name, name, index=isinstance(values[0], np.ndarray))
    for i in range(recording.n_trials if trials else 0):
        row = {name: values[i] for name, values in columns.items()}
        stop = onsets[i] + width * recording.lengths[i]
        file.add_trial(start_time=onsets[i], stop_time=stop, **row)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


@pytest.fixture(scope="module")
def session():
    """A synthetic session with what the published files hold."""
    found = datasets.clicks_session(jax.random.key(0), n_trials=20, n_neurons=5).recording
    onsets = np.cumsum(np.random.default_rng(0).uniform(2, 5, 20)) + 3000.0
    return Recording(
        spikes=found.spikes[:, : found.lengths.max()],
        lengths=found.lengths,
        inputs=found.inputs[:, : found.lengths.max()],
        choices=found.choices,
        neurons=[f"mPFC {j}" for j in range(5)],
        info={"gamma": found.info["gamma"], "onsets": onsets},
    )


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_session_is_the_same_in_every_format(tmp_path, session):
    onsets = session.info["onsets"]

    def trains(i):
        found = np.empty(5, dtype=object)
        found[:] = list(session.spikes[i, : session.lengths[i]].T)
        return found

    def heard(i):
        at = [np.repeat(np.arange(session.n_time), session.inputs[i, :, k].astype(int)) for k in range(2)]
        return {side: 0.01 * np.where(bins, bins + 0.3, 0) for side, bins in zip("LR", at, strict=True)}

    mat = write_mat(
        tmp_path / "a.mat",
        n_trials=20,
        n_neurons=5,
        choice=lambda i: session.choices[i],
        gamma=lambda i: session.info["gamma"][i],
        ntimesteps=lambda i: session.lengths[i],
        stereoclick_time_s=lambda i: onsets[i],
        spiketrains=trains,
        clicktimes=heard,
    )
    same(Recording.from_mat(mat), session)
    npz = tmp_path / "a.npz"
    parts = {key: getattr(session, key) for key in ("spikes", "lengths", "choices")}
    np.savez(npz, externalinputs=session.inputs, times=onsets, **parts)
    plain = Recording(**parts, inputs=session.inputs, info={"onsets": onsets})
    same(Recording.from_npz(npz), plain)
    same(Recording.from_nwb(write_nwb(tmp_path / "a.nwb", session, onsets=onsets)), session)


@pytest.mark.parametrize("choice", [int, bool, lambda c: ("left", "Right")[c]], ids=["int", "bool", "word"])
def test_nwb_with_clicks_as_series_and_choices_in_words(tmp_path, session, choice):
    onsets = session.info["onsets"]
    path = write_nwb(tmp_path / "a.nwb", session, onsets=onsets, clicks="series", choice=choice, names=False)
    recording = Recording.from_nwb(path)
    assert recording.neurons == tuple("01234")
    for name in ("spikes", "inputs", "choices", "lengths"):
        np.testing.assert_array_equal(getattr(recording, name), getattr(session, name))


def test_nwb_with_other_names_and_another_bin(tmp_path, session):
    path = write_nwb(tmp_path / "a.nwb", session, onsets=session.info["onsets"], clicks=("L", "R"))
    recording = Recording.from_nwb(path, clicks=("R", "L"), bin_width=0.02)
    np.testing.assert_array_equal(recording.lengths, session.lengths // 2)
    whole = session.inputs[0, : 2 * recording.lengths[0]].reshape(-1, 2, 2).sum(axis=1)
    np.testing.assert_array_equal(recording.inputs[0, : recording.lengths[0]], whole[:, ::-1])
    assert Recording.from_nwb(path).inputs is None
    with pytest.raises(ValueError, match="a.nwb: expected all of L, clicks or none, got no clicks: name"):
        Recording.from_nwb(path, clicks=("L", "clicks"))
    assert Recording.from_nwb(path, choice="answer").choices is None
    with pytest.raises(ValueError, match="bin_width: expected seconds"):
        Recording.from_nwb(path, bin_width=10)


@pytest.mark.parametrize("light", [lambda on: on, lambda on: np.where(on, 0.1, np.nan)], ids=["flag", "time"])
def test_nwb_leaves_out_photostimulated_and_undecided_trials(tmp_path, session, light):
    path = tmp_path / "light.nwb"
    words = iter(["none"] + ["left", "right"] * 10)
    stimulated = light(np.isin(np.arange(20), (3, 7)))
    write_nwb(
        path,
        session,
        onsets=session.info["onsets"],
        choice=lambda c: next(words),
        photostimulation=stimulated,
    )
    with pytest.warns(UserWarning, match="of 20 trials 2 with photostimulation and 1 without a choice"):
        recording = Recording.from_nwb(path)
    assert recording.n_trials == 17


def test_wrong_nwb(tmp_path, session):
    onsets = session.info["onsets"]
    path = write_nwb(tmp_path / "none.nwb", session, onsets=onsets, trials=False)
    with pytest.raises(ValueError, match=r"none.nwb: expected .* got no trials: add them"):
        Recording.from_nwb(path)
    path = write_nwb(tmp_path / "words.nwb", session, onsets=onsets, choice=lambda c: "up")
    with pytest.raises(
        ValueError, match="words.nwb: expected left or right in the column 'choice', got 'up'"
    ):
        Recording.from_nwb(path)
    early = {name: [np.array([0.1, 0.2])] * 20 for name in CLICKS}
    path = write_nwb(tmp_path / "early.nwb", session, onsets=onsets, clicks=None, **early)
    with pytest.raises(ValueError, match="early.nwb: expected the times of .* add start_time"):
        Recording.from_nwb(path)
    silent = Recording(
        spikes=session.spikes, lengths=session.lengths, inputs=session.inputs, choices=session.choices,
        info=session.info, neurons=session.neurons,
    )  # fmt: skip
    silent.spikes[:, :, 2] = 0
    path = write_nwb(tmp_path / "silent.nwb", silent, onsets=onsets)
    with pytest.raises(ValueError, match=r"silent.nwb: .*1 constant of 5 \(mPFC 2\)"):
        Recording.from_nwb(path)
    assert Recording.from_nwb(path, drop_constant=True).n_neurons == 4
    content = path.read_bytes()
    for kept in (0.0, 0.01, 0.5, 0.9):
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(ValueError, match="silent.nwb: expected an NWB file with units and trials"):
            Recording.from_nwb(path)
    with pytest.raises(FileNotFoundError, match="nowhere.nwb: expected an NWB file"):
        Recording.from_nwb(tmp_path / "nowhere.nwb")


def test_nwb_needs_its_extra(tmp_path, monkeypatch):
    (tmp_path / "a.nwb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(ImportError, match=r'a.nwb: .* pip install "lrcore\[nwb\]"'):
        Recording.from_nwb(tmp_path / "a.nwb")


def test_reading_changes_nothing_on_disk(tmp_path):
    write_npz(tmp_path / "a.npz")
    write_mat(tmp_path / "b.mat")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    Recording.from_npz(tmp_path / "a.npz")
    Recording.from_mat(tmp_path / "b.mat")
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}


# --- published sessions


@pytest.mark.data
@pytest.mark.skipif(datasets.find_rat_session() is None, reason="LRCORE_DATA names no folder with rat/*.mat")
def test_published_sessions():
    for path in sorted(Path(os.environ["LRCORE_DATA"], "rat").glob("*.mat")):
        recording = datasets.rat_session(path.stem)
        assert recording.n_trials > 100 and recording.n_time <= 100 and recording.n_inputs == 2
        assert recording.spikes.dtype == np.int8 and (recording.inputs[:, 0] >= 1).all()
        assert set(np.unique(recording.choices)) == {0, 1}
        # More clicks to the right, more choices to the right.
        difference = recording.inputs[:, :, 1].sum(axis=1) - recording.inputs[:, :, 0].sum(axis=1)
        assert np.corrcoef(difference, recording.choices)[0, 1] > 0.2
