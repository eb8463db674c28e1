"""Readers: what they make of files, as published and as broken as files can be."""

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
from recordings import N, S, T, counts, parts

from lrcore.recording import Recording, find_rat_session, rat_session

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
def session(clicks_session):
    """A synthetic session with what the published files hold."""
    found = clicks_session(0, 20, 5).recording
    # As many decimals as pynapple keeps, or fewer.
    onsets = np.round(np.cumsum(np.random.default_rng(0).uniform(2, 5, 20)) + 3000.0, 6)
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
    nwb = write_nwb(tmp_path / "a.nwb", session, onsets=onsets)
    same(Recording.from_nwb(nwb), session)
    nap, pynwb = pytest.importorskip("pynapple"), pytest.importorskip("pynwb")
    with pynwb.NWBHDF5IO(str(nwb), "r") as io:
        file = io.read()
        units = {i: nap.Ts(file.units["spike_times"][i]) for i in range(5)}
        trials = file.trials.to_dataframe()
        sides = [nap.Ts(np.concatenate(list(trials[name]))) for name in CLICKS]
    found = Recording.from_pynapple(
        nap.TsGroup(units, metadata={"unit_name": list(session.neurons)}),
        nap.IntervalSet(
            trials.start_time.to_numpy(),
            trials.stop_time.to_numpy(),
            metadata={name: trials[name].to_numpy() for name in ("choice", "gamma")},
        ),
        inputs=sides,
    )
    same(found, session)


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
    # What is asked for by name is there.
    with pytest.raises(ValueError, match="a.nwb: expected a column 'answer' as `choice`, got none"):
        Recording.from_nwb(path, choice="answer")
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
@pytest.mark.skipif(find_rat_session() is None, reason="LRCORE_DATA names no folder with rat/*.mat")
def test_published_sessions():
    for path in sorted(Path(os.environ["LRCORE_DATA"], "rat").glob("*.mat")):
        recording = rat_session(path.stem)
        assert recording.n_trials > 100 and recording.n_time <= 100 and recording.n_inputs == 2
        assert recording.spikes.dtype == np.int8 and (recording.inputs[:, 0] >= 1).all()
        assert set(np.unique(recording.choices)) == {0, 1}
        # More clicks to the right, more choices to the right.
        difference = recording.inputs[:, :, 1].sum(axis=1) - recording.inputs[:, :, 0].sum(axis=1)
        assert np.corrcoef(difference, recording.choices)[0, 1] > 0.2
