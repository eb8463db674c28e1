"""Sessions of spike times: what is left out, windows, filters, choices and inputs."""

import tracemalloc
import warnings

import numpy as np
import pytest
from sessions import SESSION_START, STARTS, STOPS, UNITS, binned, spikes, write

from lrcore.recording import Recording

# --- what a file says of validity


def without(times, start, stop):
    return times[(times < start) | (times > stop)]


def test_invalid_times_are_left_out_and_counted(tmp_path):
    units = [without(t, 30, 70) for t in UNITS]
    path = write(tmp_path / "a.nwb", units, invalid=[(30.0, 70.0), (100.99, 101.005)])
    with pytest.warns(UserWarning, match="left out of 40 trials 14 in invalid times"):
        found = Recording.from_nwb(path)
    kept = (STOPS <= 30) | (STARTS >= 70)
    kept &= STARTS != 101
    np.testing.assert_array_equal(found.info["onsets"], STARTS[kept])
    np.testing.assert_array_equal(found.spikes, binned(units, STARTS[kept]))
    assert "left out of 40 trials 14 in invalid times" in repr(found)
    assert Recording.from_nwb(path, validity=False).n_trials == 40


@pytest.mark.parametrize(
    ("invalid", "left"),
    [([(np.nan, 30.0)], 30), ([(70.0, np.nan)], 23), ([(5.9, 8.0)], 39), ([(3.0, 5.0)], 40)],
    ids=["from the start", "without end", "touches one", "between trials"],
)
def test_invalid_times_of_other_forms(tmp_path, invalid, left):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert Recording.from_nwb(write(tmp_path / "a.nwb", invalid=invalid)).n_trials == left


UNIX = SESSION_START.timestamp()
ON_CLOCKS = {
    "all in milliseconds": ({"spikes": 1e3, "trials": 1e3, "invalid": 1e3}, 0, {"time_units": 1e-3}),
    "trials in milliseconds": ({"trials": 1e3, "invalid": 1e3}, 0, {"time_units": {"trials": 1e-3}}),
    "trials in Unix time": ({}, {"trials": UNIX}, {}),
    "alone in Unix time": ({}, {"invalid": UNIX}, {}),
    "spikes in Unix time": ({}, {"spikes": UNIX, "invalid": UNIX}, {}),
}


@pytest.mark.parametrize(("unit", "zero", "how"), ON_CLOCKS.values(), ids=ON_CLOCKS.keys())
def test_invalid_times_on_the_clocks_that_the_file_tells(tmp_path, unit, zero, how):
    def moved(what, times):
        return np.asarray(times) * unit.get(what, 1.0) + (zero.get(what, 0.0) if zero else 0.0)

    path = write(
        tmp_path / "a.nwb",
        [moved("spikes", t) for t in UNITS],
        moved("trials", STARTS),
        moved("trials", STOPS),
        invalid=[moved("invalid", (30.0, 70.0))],
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Recording.from_nwb(path, **how)
    assert any("left out of 40 trials 13 in invalid times" in str(one.message) for one in told)
    np.testing.assert_array_equal(found.spikes, binned(starts=STARTS[(STOPS <= 30) | (STARTS >= 70)]))


@pytest.mark.parametrize("factor", [1e3, 3e4])
def test_intervals_on_other_clocks_are_refused(tmp_path, factor):
    path = write(tmp_path / "a.nwb", invalid=[(30.0 * factor, 70.0 * factor)])
    with pytest.raises(ValueError, match=r"a\.nwb: expected invalid_times in seconds of the session"):
        Recording.from_nwb(path)
    assert Recording.from_nwb(path, validity=False).n_trials == 40
    for name, observed in (("b", [[0.0, 130.0 * factor]]), ("c", factor * np.stack([STARTS, STOPS], axis=1))):
        path = write(tmp_path / f"{name}.nwb", observed=[observed] * 4)
        with pytest.raises(ValueError, match=rf"{name}\.nwb: expected obs_intervals in seconds"):
            Recording.from_nwb(path)


def test_a_window_before_the_session_is_left_out(tmp_path):
    path = write(tmp_path / "a.nwb", starts=STARTS - 2, stops=STOPS - 2)
    with pytest.warns(UserWarning, match="left out of 40 trials 1 before the session's zero"):
        found = Recording.from_nwb(path, window=(-1, 0.5))
    np.testing.assert_array_equal(found.info["onsets"], STARTS[1:] - 3)


def test_a_window_is_invalid_where_its_trial_is_not(tmp_path):
    path = write(tmp_path / "a.nwb", invalid=[(6.2, 6.4)])
    assert Recording.from_nwb(path).n_trials == 40
    with pytest.warns(UserWarning, match="1 in invalid times"):
        assert Recording.from_nwb(path, window=(0, 1.5)).n_trials == 39


def test_trials_that_a_unit_was_not_observed_in_are_left_out(tmp_path):
    whole = [[0.0, 130.0]]
    path = write(
        tmp_path / "a.nwb",
        [*UNITS[:3], without(UNITS[3], 50, 131)],
        observed=[whole, [[0.0, 60.0], [60.0, 130.0]], whole, [[0.0, 50.0]]],
    )
    with pytest.warns(UserWarning, match=r"24 not observed by every unit \(unit 3 misses 24\)"):
        found = Recording.from_nwb(path)
    assert found.info["onsets"].max() == 47.0
    # Without that unit every trial is whole.
    assert Recording.from_nwb(path, units=[0, 1, 2]).n_trials == 40
    # Each trial an interval of its own, as some write them.
    each = np.stack([STARTS, STOPS], axis=1)
    assert Recording.from_nwb(write(tmp_path / "b.nwb", observed=[each] * 4)).n_trials == 40
    # A sample that is missing at their ends is no reason, half a bin is.
    each[:, 1] -= 0.001
    assert Recording.from_nwb(write(tmp_path / "d.nwb", observed=[each] * 4)).n_trials == 40
    each[:, 1] -= 0.005
    with pytest.raises(
        ValueError, match="got 0 of 40: 40 not observed .* validity=False reads what the file"
    ):
        Recording.from_nwb(write(tmp_path / "e.nwb", observed=[each] * 4))
    # Nothing said of a unit is nothing against it.
    none = np.zeros((0, 2))
    path = write(tmp_path / "c.nwb", observed=[whole, none, whole, whole])
    assert Recording.from_nwb(path).n_trials == 40


def test_trials_after_the_last_spike_are_left_out(tmp_path):
    path = write(tmp_path / "a.nwb", [t[t < 100.5] for t in UNITS])
    with pytest.warns(UserWarning, match="7 before the first spike or after the last"):
        assert Recording.from_nwb(path).n_trials == 33
    path = write(tmp_path / "b.nwb", [t[t > 20] for t in UNITS])
    with pytest.warns(UserWarning, match="6 before the first spike or after the last"):
        assert Recording.from_nwb(path).n_trials == 34
    # So are windows that reach well beyond it.
    with pytest.warns(UserWarning, match="1 before the first spike or after the last"):
        path = write(tmp_path / "d.nwb", [t[t < 119.2] for t in UNITS])
        assert Recording.from_nwb(path, window=(-0.5, 1)).n_trials == 39
    # A few silent trials of sparse units can be chance.
    sparse = [t[t < 110] for t in (spikes(1.0, seed=5), spikes(0.5, seed=6))]
    assert Recording.from_nwb(write(tmp_path / "c.nwb", sparse)).n_trials == 40


def test_trials_without_a_time_are_left_out(tmp_path):
    starts, stops = STARTS.copy(), STOPS.copy()
    starts[3], stops[5], stops[7] = np.nan, np.nan, starts[7] - 1
    with pytest.warns(UserWarning, match="3 of fewer than two bins"):
        found = Recording.from_nwb(write(tmp_path / "a.nwb", UNITS, starts, stops))
    np.testing.assert_array_equal(found.spikes, binned(starts=np.delete(STARTS, [3, 5, 7])))


def test_spike_times_that_are_no_numbers_are_refused(tmp_path):
    times = UNITS[1].copy()
    times[7] = np.nan
    with pytest.raises(ValueError, match=r"a\.nwb: expected finite spike times, got 1 NaN .* of unit 1"):
        Recording.from_nwb(write(tmp_path / "a.nwb", [UNITS[0], times]))
    # In any order, as the format asks for ascending ones but not every writer keeps to it.
    shuffled = [np.random.default_rng(0).permutation(t) for t in UNITS]
    np.testing.assert_array_equal(Recording.from_nwb(write(tmp_path / "b.nwb", shuffled)).spikes, binned())


# --- which units and trials

QUALITY = ["good", "mua", "good", "noise"]


def test_units_are_chosen_by_their_columns_and_counted(tmp_path):
    columns = {"quality": QUALITY, "snr": [3.0, 1.0, 2.5, 0.5], "location": ["CA1", "CA1", "CA3", "CA3"]}
    path = write(tmp_path / "a.nwb", unit_columns=columns)
    for units, kept in (
        ({"quality": "good"}, [0, 2]),
        ({"quality": ["Good", "MUA"]}, [0, 1, 2]),
        ({"quality": "good", "location": "CA3"}, [2]),
        ({"snr": lambda x: x > 0.9}, [0, 1, 2]),
        ([2, 0], [0, 2]),
        (np.array([False, True, False, True]), [1, 3]),
    ):
        found = Recording.from_nwb(path, units=units)
        np.testing.assert_array_equal(found.spikes, binned()[:, :, kept])
        assert found.neurons == tuple(map(str, kept))
        assert f"left out of 4 units {4 - len(kept)} not in `units`" in repr(found)
    for units, words in (
        ({"quality": "best"}, "expected rows with quality best for units, got none: there are good, mua"),
        ([], "expected some units that `units` keeps, got none of 4"),
        ({"grade": 1}, "expected a column 'grade' for units"),
        (
            {"quality": "good", "snr": lambda x: x > 9},
            "expected some units that `units` keeps, got none of 4",
        ),
        ({"snr": lambda x: 1}, r"expected units=.*to give a truth value for each of 4 rows"),
        ([4], r"expected units as .*, as indices below 4 or as a mask \(4,\)"),
        ([True, False], r"expected units as .*, as indices below 4 or as a mask \(4,\)"),
    ):
        with pytest.raises(ValueError, match=rf"a\.nwb: {words}"):
            Recording.from_nwb(path, units=units)


def test_units_are_chosen_by_their_electrodes(tmp_path):
    path = write(tmp_path / "a.nwb", electrodes={"bad_channel": [False, True, False, False]})
    assert Recording.from_nwb(path, units={"bad_channel": False}).neurons == ("0", "2", "3")
    assert Recording.from_nwb(path, units={"location": "here"}).n_neurons == 4


def test_trials_are_chosen_by_their_columns(tmp_path):
    columns = {"task": ["active", "passive"] * 20, "contrast": np.arange(40) / 40}
    path = write(tmp_path / "a.nwb", columns=columns)
    for trials, kept in (
        ({"task": "active"}, np.arange(0, 40, 2)),
        ({"task": "active", "contrast": lambda c: c > 0.5}, np.arange(22, 40, 2)),
        (np.arange(40) < 10, np.arange(10)),
    ):
        with pytest.warns(UserWarning, match=f"left out of 40 trials {40 - len(kept)} not in `trials`"):
            found = Recording.from_nwb(path, trials=trials)
        np.testing.assert_array_equal(found.spikes, binned(starts=STARTS[kept]))


def test_trials_of_another_table(tmp_path):
    path = write(tmp_path / "a.nwb", table="gratings")
    np.testing.assert_array_equal(Recording.from_nwb(path, intervals="gratings").spikes, binned())
    with pytest.raises(ValueError, match="got no trials: name one of gratings with intervals="):
        Recording.from_nwb(path)


# --- windows around an event

CUES = STARTS + 0.2 + 0.01 * (np.arange(40) % 7)


def test_windows_around_a_column_or_the_first_event(tmp_path):
    columns = {"stim_on_time": CUES}
    path = write(tmp_path / "a.nwb", columns=columns, events={"tones": np.sort([*CUES, *(CUES + 0.1), 1.0])})
    for align in ("stim_on_time", "tones"):
        found = Recording.from_nwb(path, align=align, window=(-0.5, 1.5))
        np.testing.assert_array_equal(found.spikes, binned(starts=CUES - 0.5, n_bins=200))
        np.testing.assert_allclose(found.info["onsets"], CUES - 0.5)
        assert f"bins run from -0.5 s to 1.5 s, from {align} on" in repr(found)
    found = Recording.from_nwb(path, window=(-0.1, 0.2), bin_width=0.02)
    np.testing.assert_array_equal(found.spikes, binned(starts=STARTS - 0.1, n_bins=15, width=0.02))
    found = Recording.from_nwb(path, align="stim_on_time")
    np.testing.assert_array_equal(found.lengths, 80 - np.arange(40) % 7)
    found = Recording.from_nwb(path, align="stim_on_time", window=(0.1, None))
    np.testing.assert_array_equal(found.lengths, 70 - np.arange(40) % 7)


def test_trials_without_the_event_are_left_out(tmp_path):
    cues = np.where(np.arange(40) < 3, np.nan, CUES)
    path = write(tmp_path / "a.nwb", columns={"cue": cues}, events={"tones": CUES[5:]})
    with pytest.warns(UserWarning, match="left out of 40 trials 3 without cue"):
        assert Recording.from_nwb(path, align="cue", window=(0, 1)).n_trials == 37
    with pytest.warns(UserWarning, match="left out of 40 trials 5 without tones"):
        assert Recording.from_nwb(path, align="tones", window=(0, 1)).n_trials == 35


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"align": "stimulus"}, "expected `align` to name a column of the trials, or events of the file"),
        ({"align": "word"}, "expected times in the column 'word', got 'go'"),
        (
            {"window": (-500, 1500)},
            r"window: expected seconds, .* if these are milliseconds, give \(-0.5, 1.5\)",
        ),
        ({"window": (1, 0)}, r"window: expected \(before, after\) in seconds, of two bins or more"),
        ({"window": (0, 0.01)}, r"window: expected \(before, after\) in seconds, of two bins or more"),
        ({"window": 0.5}, r"window: expected \(before, after\) in seconds"),
        ({"inputs": ["speed"]}, "expected events or a signal named 'speed', got none"),
        ({"choice": "response"}, "expected a column 'response' as `choice`, got none: .* choice=None is for"),
        ({"photostimulus": "laser"}, "expected a column 'laser' as `photostimulus`, got none"),
        ({"neurons": "label"}, "expected a column 'label' as `neurons`, got none"),
        ({"clicks": ("left", "right")}, "expected all of left, right or none, got no left, right"),
        ({"coding": {"a": 0}}, "expected the column 'choice' that `coding` is for, got none"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, how, words):
    with pytest.raises(ValueError, match=words):
        Recording.from_nwb(write(tmp_path / "a.nwb", columns={"word": ["go"] * 40}), **how)


# --- choices

CODINGS = {
    "0 and 1": ([0, 1, 1, 0], [0, 1, 1, 0], None),
    "-1 and 1": ([-1, 1, 1, -1], [0, 1, 1, 0], "-1 is 0, 1 is 1"),
    "1 and 2": ([1.0, 2.0, 2.0, np.nan], [0, 1, 1], "1 is 0, 2 is 1"),
    "-1, 0 and 1": ([-1, 0, 1, -1], [0, 1, 0], "-1 is 0, 1 is 1, 0 is no choice"),
    "booleans": ([False, True, True, False], [0, 1, 1, 0], None),
    "sides": (["Left", "RIGHT", "miss", "r"], [0, 1, 1], None),
    "sides and no answer": (["left", "no-go", "right", "left"], [0, 1, 0], None),
    "go and no-go": (["go", "no-go", "go", "no-go"], [1, 0, 1, 0], "no-go is 0, go is 1"),
    "answers": (["yes", "no", "yes", ""], [1, 0, 1], "no is 0, yes is 1"),
    "two words": (["face", "house", "n/a", "house"], [0, 1, 1], "face is 0, house is 1"),
    "numbers in words": (["-1", "1", "0", "-1"], [0, 1, 0], "-1 is 0, 1 is 1, 0 is no choice"),
    "three": ([0, 2, 1, 2], [0, 2, 1, 2], None),
}


@pytest.mark.parametrize(("written", "read", "said"), CODINGS.values(), ids=CODINGS.keys())
def test_choices_in_any_coding(tmp_path, written, read, said):
    path = write(tmp_path / "a.nwb", columns={"choice": written * 10})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Recording.from_nwb(path)
    missing = 10 * (4 - len(read))
    assert [str(one.message).split(": ")[-1] for one in told] == (
        [f"left out of 40 trials {missing} without a choice"] if missing else []
    )
    np.testing.assert_array_equal(found.choices, read * 10)
    assert ("choice" in found.info) == (said is not None)
    if said is not None:
        assert f"choices by 'choice': {said}" in repr(found)
        assert len(set(map(str, found.info["choice"]))) == 2


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (["up", "up"], "expected left or right in the column 'choice', got 'up'"),
        (["left", "up"], "expected left or right in the column 'choice', got 'up' among left, up"),
        (["a", "b", "c", "a"], "expected left or right .* among a, b, c: say what is what with coding="),
        ([-1, 0], "got -1 and 0, of which one may be no choice"),
        ([0.5, 1.0], "choices: expected whole numbers, got 0.5"),
    ],
)
def test_unclear_choices_are_refused(tmp_path, written, words):
    path = write(tmp_path / "a.nwb", columns={"choice": written * (40 // len(written))})
    with pytest.raises(ValueError, match=rf"a\.nwb: .*{words}"):
        Recording.from_nwb(path)
    assert Recording.from_nwb(path, choice=None).choices is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ([0, 1, -99, 1], r"got -99 \(10\), 0 \(10\), 1 \(20\): .* coding="),
        ([-1, 1, 2, 1, -1], r"got -1 \(16\), 1 \(16\), 2 \(8\): .* coding=\{-1: 0, 1: 1\}"),
    ],
)
def test_numbers_among_choices_that_may_be_none_are_refused(tmp_path, written, words):
    path = write(tmp_path / "a.nwb", columns={"choice": written * (40 // len(written))})
    with pytest.raises(ValueError, match=rf"a\.nwb: expected choices numbered from 0 up .* {words}"):
        Recording.from_nwb(path)


def test_choices_of_three_kinds_are_counted(tmp_path):
    path = write(tmp_path / "a.nwb", columns={"choice": [0, 1, 2, 1, 2] * 8})
    found = Recording.from_nwb(path)
    assert "choices of 3 kinds in 'choice', 0 (8), 1 (16), 2 (16): if one of them is no" in found.notes[0]
    with pytest.warns(UserWarning, match="8 without a choice"):
        found = Recording.from_nwb(path, coding={1: 0, 2: 1})
    np.testing.assert_array_equal(found.choices, [0, 1, 0, 1] * 8)


def test_a_coding_is_believed(tmp_path):
    path = write(tmp_path / "a.nwb", columns={"choice": ["a", "b", "c", "b"] * 10})
    with pytest.warns(UserWarning, match="10 without a choice"):
        found = Recording.from_nwb(path, coding={"b": 0, "C": 1})
    np.testing.assert_array_equal(found.choices, [0, 1, 0] * 10)
    path = write(tmp_path / "b.nwb", columns={"choice": [-1, 0] * 20})
    np.testing.assert_array_equal(Recording.from_nwb(path, coding={-1: 1, 0: 0}).choices, [1, 0] * 20)
    with pytest.raises(ValueError, match="expected some of 'left' in the column 'choice', got -1, 0"):
        Recording.from_nwb(path, coding={"left": 0})


# --- light

LIGHTS = {
    "none": (["none"] * 40, 40),
    "off and on": (["off", "on", "Off", "no"] * 10, 30),
    "sites": (["N/A", "left ALM", "", "none"] * 10, 30),
    "numbers in words": (["0", "0.0", "nan", "0"] * 10, 40),
    "flags in floats": ([0.0, 1.0, 0.0, 0.0] * 10, 30),
    "flags in integers": ([0, 0, 0, 1] * 10, 30),
    "flags and nothing": ([0.0, 1.0, np.nan, 0.0] * 10, 30),
    "times": ([np.nan, 2.5, np.nan, np.nan] * 10, 30),
    "several times": ([np.array([]), np.array([2.5, 2.6]), np.array([np.nan]), np.array([])] * 10, 30),
}


@pytest.mark.parametrize(("written", "left"), LIGHTS.values(), ids=LIGHTS.keys())
def test_light_in_words_flags_and_times(tmp_path, written, left):
    path = write(tmp_path / "a.nwb", columns={"photostimulation": written})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert Recording.from_nwb(path).n_trials == left
    assert len(told) == (left < 40) and all("10 with photostimulation" in str(one.message) for one in told)


def test_the_word_for_light_is_said_where_all_are_lit(tmp_path):
    path = write(tmp_path / "a.nwb", columns={"photostimulation": ["control"] * 40})
    with pytest.raises(
        ValueError, match=r"got 0 of 40: 40 with photostimulation \('photostimulation' says control\)"
    ):
        Recording.from_nwb(path)
    assert Recording.from_nwb(path, photostimulus=None).n_trials == 40


# --- inputs


def series(name, values, times, **how):
    pynwb = pytest.importorskip("pynwb")
    return pynwb.TimeSeries(name=name, data=np.asarray(values), unit="a", timestamps=times, **how)


def test_signals_are_averaged_in_each_bin(tmp_path):
    fine = np.arange(0, 130, 0.002)
    path = write(
        tmp_path / "a.nwb",
        stimuli=[
            series("speed", np.stack([fine, 2 * fine], axis=1), fine, conversion=3.0, offset=1.0),
            series("slow", np.arange(0, 131, 0.5), np.arange(0, 131, 0.5)),
            series(
                "contrast",
                np.arange(45.0),
                np.append(STARTS, np.arange(125.0, 130)) - 1.255,
                continuity="step",
            ),
            series("licks", np.ones(40), STARTS + 0.1, continuity="instantaneous"),
        ],
    )
    found = Recording.from_nwb(path, inputs=["speed", "slow", "contrast", "licks"], window=(0, 1))
    assert found.n_inputs == 5 and "inputs are speed (2), slow, contrast, licks" in repr(found)
    edges = STARTS[:, None] + 0.01 * np.arange(100)
    # The mean of a line is what it is in the middle, however often it is sampled.
    np.testing.assert_allclose(found.inputs[:, :, 0], 3 * (edges + 0.005) + 1, rtol=1e-5)
    np.testing.assert_allclose(found.inputs[:, :, 1], 6 * (edges + 0.005) + 1, rtol=1e-5)
    np.testing.assert_allclose(found.inputs[:, :, 2], edges + 0.005, rtol=1e-5)
    np.testing.assert_allclose(found.inputs[:, :, 3], np.tile(np.arange(40.0)[:, None], 100), atol=1e-6)
    np.testing.assert_array_equal(found.inputs[:, :, 4], np.tile(np.arange(100) == 10, (40, 1)))


def test_a_signal_is_no_events(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    fine = np.arange(0, 130, 0.001)
    pulses = (fine % 0.25 < 0.01).astype(float)
    sides = ("left_clicks", "right_clicks")
    traces = [pynwb.TimeSeries(name=n, data=pulses, unit="V", rate=1000.0) for n in sides]
    jitter = np.random.default_rng(0).uniform(0, 1e-5, len(fine))
    traces += [
        series("timed", pulses, fine + jitter),
        series("held", [0, 1] * 40, CHANGES, continuity="step"),
    ]
    path = write(tmp_path / "a.nwb", stimuli=traces)
    for how in (
        {},
        {"align": "left_clicks", "clicks": ()},
        {"align": "timed", "clicks": ()},
        {"clicks": ["held"]},
    ):
        with pytest.raises(
            ValueError, match=r"a\.nwb: expected the times of events as .*, got a signal with"
        ):
            Recording.from_nwb(path, **how)
    assert Recording.from_nwb(path, inputs=["timed"], clicks=()).inputs.max() == pytest.approx(1)


CHANGES = np.sort(np.concatenate([STARTS + 0.1, STARTS + 0.6]))


def test_marks_and_intervals_are_events(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    rng = np.random.default_rng(0)
    times = np.sort(np.concatenate([start + rng.uniform(0, 1, 10) for start in STARTS]))
    bouts = pynwb.misc.IntervalSeries(name="bouts", data=[1, -1] * 40, timestamps=CHANGES)
    path = write(tmp_path / "a.nwb", stimuli=[series("licks", np.ones(400), times), bouts])
    found = Recording.from_nwb(path, inputs=["licks", "bouts"]).inputs
    np.testing.assert_array_equal(found[:, :, 0], binned([times])[:, :, 0])
    np.testing.assert_array_equal(found[:, :, 1], np.tile(np.arange(100) == 10, (40, 1)))


def test_a_value_that_holds_is_averaged_over_time(tmp_path):
    changes = np.sort(np.concatenate([[0.0], STARTS + 0.1025]))
    path = write(tmp_path / "a.nwb", stimuli=[series("light", np.arange(41.0), changes, continuity="step")])
    found = Recording.from_nwb(path, inputs=["light"]).inputs[:, :, 0]
    np.testing.assert_allclose(found[:, 9], np.arange(40), atol=1e-5)
    np.testing.assert_allclose(found[:, 10], np.arange(40) + 0.75, atol=1e-4)


def test_trials_with_gaps_in_a_signal_are_left_out(tmp_path):
    times = np.arange(0, 130, 0.05)
    values = np.where(np.abs(times - 47.5) < 0.02, np.nan, times)
    kept = (times < 59.2) | (times > 59.8)
    path = write(tmp_path / "a.nwb", stimuli=[series("speed", values[kept], times[kept])])
    with pytest.warns(UserWarning, match="left out of 40 trials 2 with gaps in speed"):
        found = Recording.from_nwb(path, inputs=["speed"])
    assert np.isfinite(found.inputs).all()
    np.testing.assert_array_equal(found.info["onsets"], STARTS[~np.isin(STARTS, (47, 59))])
    path = write(tmp_path / "b.nwb", stimuli=[series("speed", times[times < 60], times[times < 60])])
    with pytest.warns(UserWarning, match="with gaps in speed"):
        assert Recording.from_nwb(path, inputs=["speed"]).info["onsets"].max() < 60


def test_times_of_samples_rise(tmp_path):
    times = np.arange(0, 130, 0.1)
    for at, value in ((700, 3.0), (700, np.nan)):
        wrong = times.copy()
        wrong[at] = value
        path = write(tmp_path / f"{value}.nwb", stimuli=[series("speed", times, wrong)])
        with pytest.raises(ValueError, match="expected the times of speed to rise from sample to sample"):
            Recording.from_nwb(path, inputs=["speed"])


def test_a_name_that_stands_twice_is_asked_for(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    times = np.arange(0, 130, 0.1)
    path = tmp_path / "a.nwb"
    write(path)
    with pynwb.NWBHDF5IO(str(path), "a") as io:
        file = io.read()
        module = file.create_processing_module("behavior", "behaviour")
        for eye, factor in (("left", 1.0), ("right", 2.0)):
            tracked = pynwb.behavior.PupilTracking(name=eye)
            tracked.add_timeseries(series("pupil", factor * times, times))
            module.add(tracked)
        io.write(file)
    with pytest.raises(ValueError, match="expected one series or table 'pupil', got left/pupil, right/pupil"):
        Recording.from_nwb(path, inputs=["pupil"])
    found = Recording.from_nwb(path, inputs=["left/pupil", "right/pupil"]).inputs
    np.testing.assert_allclose(found[:, :, 1], 2 * found[:, :, 0], rtol=1e-5)


# --- what it costs


@pytest.mark.parametrize("drop_constant", [False, True])
def test_reading_needs_little_more_memory_than_the_recording(tmp_path, drop_constant):
    starts = 21.0 * np.arange(100)
    units = [spikes(1.0 + i % 3, 2121.0, seed=i) for i in range(100)]
    units[7:10] = [np.array([2110.0])] * 3 if drop_constant else units[7:10]
    path = write(tmp_path / "a.nwb", units, starts, starts + 20)
    Recording.from_nwb(path, window=(0, 0.1), drop_constant=True)
    tracemalloc.start()
    found = Recording.from_nwb(path, drop_constant=drop_constant)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.spikes.shape == (100, 2000, 97 if drop_constant else 100)
    assert peak < 1.5 * found.spikes.nbytes + 5e6
