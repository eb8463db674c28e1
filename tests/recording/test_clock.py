"""The clocks of files: converted where the file says how, refused by name where it does not."""

import numpy as np
import pytest
from sessions import END, SESSION_START, STARTS, STOPS, UNITS, binned, in_single_precision, spikes, write

from lrcore.recording import Recording

UNIX = SESSION_START.timestamp()


def cut(times, starts=STARTS, stops=STOPS, before=0.0):
    """The spikes of each trial, counted from its start, one trial after the other."""
    return np.concatenate(
        [times[(times >= a - before) & (times < b)] - a for a, b in zip(starts, stops, strict=True)]
    )


def test_the_counts_are_those_of_another_way(tmp_path):
    found = Recording.from_nwb(write(tmp_path / "a.nwb"))
    np.testing.assert_array_equal(found.spikes, binned())
    assert found.notes == ()


TOUCHING = np.arange(40.0)
OTHER_CLOCKS = {
    "from each trial": ({"units": [cut(t) for t in UNITS]}, "from the start of each trial: add start_time"),
    "from each trial, the first at 0": (
        {"units": [cut(t) for t in UNITS], "starts": STARTS - 2, "stops": STOPS - 2},
        "from the start of each trial: add start_time",
    ),
    "from each trial, without a gap": (
        {
            "units": [cut(t, TOUCHING, TOUCHING + 1) for t in UNITS],
            "starts": TOUCHING,
            "stops": TOUCHING + 1,
        },
        "from the start of each trial: add start_time",
    ),
    "from an event": (
        {"units": [cut(t, before=0.5) for t in UNITS], "starts": STARTS - 2, "stops": STOPS - 2},
        "from the start of each trial: add start_time",
    ),
    "of unequal trials": (
        {
            "units": [cut(t, STARTS, STARTS + np.linspace(0.5, 2.5, 40)) for t in UNITS],
            "starts": STARTS - 2,
            "stops": STARTS - 2 + np.linspace(0.5, 2.5, 40),
        },
        "from the start of each trial: add start_time",
    ),
    "milliseconds": (
        {"units": [1000 * t for t in UNITS]},
        r"as if in milliseconds: say so with time_units=\{'spikes': 0.001\}",
    ),
    "whole milliseconds": ({"units": [np.round(1000 * t) for t in UNITS]}, "as if in milliseconds"),
    "microseconds": ({"units": [np.round(1e6 * t) for t in UNITS]}, "as if in microseconds"),
    "samples": ({"units": [np.round(30_000 * t) for t in UNITS]}, "as if in samples of 1/30000 s"),
    "samples at 24,414 Hz": (
        {"units": [np.round(24_414 * t) for t in UNITS]},
        "as if in samples of 1/30000 s|whole numbers, so no seconds",
    ),
    "trials in milliseconds": (
        {"starts": 1000 * STARTS, "stops": 1000 * STOPS},
        r"as if the trials were in milliseconds: say so with time_units=\{'trials': 0.001\}",
    ),
    "both in whole milliseconds": (
        {"units": [np.round(1000 * t) for t in UNITS], "starts": 1000 * STARTS, "stops": 1000 * STOPS},
        "whole numbers, so no seconds",
    ),
    "another session": ({"units": [t + 5000 for t in UNITS]}, "on another clock"),
    "rounded": ({"units": [np.round(t, 1) for t in UNITS]}, "got times rounded to 0.1 s"),
}


@pytest.mark.parametrize(("changes", "words"), OTHER_CLOCKS.values(), ids=OTHER_CLOCKS.keys())
def test_other_clocks_are_refused_by_name(tmp_path, changes, words):
    with pytest.raises(ValueError, match=rf"a\.nwb: expected .*spike times.*({words})"):
        Recording.from_nwb(write(tmp_path / "a.nwb", **changes))


def test_units_of_time_are_believed(tmp_path):
    path = write(tmp_path / "ms.nwb", [1000 * t for t in UNITS])
    np.testing.assert_array_equal(Recording.from_nwb(path, time_units={"spikes": 1e-3}).spikes, binned())
    path = write(tmp_path / "both.nwb", [1000 * t for t in UNITS], 1000 * STARTS, 1000 * STOPS)
    np.testing.assert_array_equal(Recording.from_nwb(path, time_units=1e-3).spikes, binned())
    path = write(tmp_path / "t.nwb", UNITS, 1000 * STARTS, 1000 * STOPS, invalid=[(30_000.0, 70_000.0)])
    with pytest.warns(UserWarning, match="13 in invalid times"):
        assert Recording.from_nwb(path, time_units={"trials": 1e-3}).n_trials == 27
    path = write(tmp_path / "trials.nwb", UNITS, 1000 * STARTS, 1000 * STOPS)
    np.testing.assert_array_equal(Recording.from_nwb(path, time_units={"trials": 1e-3}).spikes, binned())
    for wrong in ({"clicks": 1e-3}, {"spikes": 0}, "ms"):
        with pytest.raises(ValueError, match="time_units: expected seconds in a unit of the times of spikes"):
            Recording.from_nwb(path, time_units=wrong)


@pytest.mark.parametrize("rate", [30_000, 24_414.0625, 1000])
def test_samples_are_converted_where_the_file_has_their_period(tmp_path, rate):
    units = [(np.round(t * rate) + 0.0) / rate for t in UNITS]
    path = write(tmp_path / "a.nwb", [np.round(t * rate) for t in units], resolution=1 / rate)
    with pytest.warns(UserWarning, match=r"a\.nwb: spike times are in samples of the file's rate: times"):
        found = Recording.from_nwb(path)
    np.testing.assert_array_equal(found.spikes, Recording.from_nwb(write(tmp_path / "s.nwb", units)).spikes)
    assert "samples" in found.notes[0]


def test_other_words_of_a_file_on_its_clock(tmp_path):
    path = write(tmp_path / "ms.nwb", [1000 * t for t in UNITS], described="spike times in milliseconds")
    with pytest.warns(UserWarning, match="spike times are in milliseconds, as described: times 0.001 s"):
        np.testing.assert_array_equal(Recording.from_nwb(path).spikes, binned())
    # A wrong word does not stand against what the times show.
    path = write(tmp_path / "s.nwb", described="spike times in milliseconds")
    np.testing.assert_array_equal(Recording.from_nwb(path).spikes, binned())

    def voltage(file):
        pynwb = pytest.importorskip("pynwb")
        group = file.create_electrode_group("shank", "", "", file.create_device("probe"))
        file.add_electrode(location="here", group=group)
        region = file.create_electrode_table_region([0], "all")
        return pynwb.ecephys.ElectricalSeries(
            name="v", data=np.zeros((9, 1)), electrodes=region, rate=20_000.0
        )

    units = [np.round(t * 20_000) for t in UNITS]
    path = write(tmp_path / "v.nwb", units, acquired=[voltage])
    with pytest.warns(UserWarning, match="spike times are in samples of the file's rate: times 5e-05 s"):
        found = Recording.from_nwb(path)
    assert abs(found.spikes.astype(int) - binned()).sum() < 0.01 * binned().sum()


def test_unix_times_are_brought_together_by_the_reference_time(tmp_path):
    path = write(tmp_path / "spikes.nwb", [t + UNIX for t in UNITS])
    with pytest.warns(UserWarning, match="spike times are Unix times: brought to the trials'"):
        np.testing.assert_array_equal(Recording.from_nwb(path).spikes, binned())
    path = write(tmp_path / "trials.nwb", UNITS, STARTS + UNIX, STOPS + UNIX)
    with pytest.warns(UserWarning, match="spike times are seconds where the trials are Unix times"):
        np.testing.assert_array_equal(Recording.from_nwb(path).spikes, binned())
    path = write(tmp_path / "another day.nwb", [t + UNIX + 1e7 for t in UNITS])
    with pytest.raises(ValueError, match="as if in Unix time: subtract the session's start"):
        Recording.from_nwb(path)


EDGES = [0.0, 0.01, 0.02, 0.29, 0.5, 0.57, 0.99]


@pytest.mark.parametrize("zero", [0.0, 1e4, UNIX], ids=["session", "hours", "Unix"])
def test_times_on_edges_count_in_the_later_bin(tmp_path, zero):
    starts = zero + STARTS + 0.1
    lengths = np.arange(40) % 7 + 50
    clicks = [np.array(EDGES) + start for start in starts]
    path = write(
        tmp_path / "a.nwb",
        [t + zero for t in UNITS],
        starts,
        starts + lengths * 0.01,
        columns={"left_clicks": clicks, "right_clicks": clicks},
    )
    found = Recording.from_nwb(path)
    np.testing.assert_array_equal(found.lengths, lengths)
    expected = np.round(np.array(EDGES) / 0.01).astype(int)
    for row, length in zip(found.inputs[:, :, 0], lengths, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), expected[expected < length])


@pytest.mark.parametrize("stored", [in_single_precision, lambda path: path], ids=["single", "in double"])
def test_single_precision_is_recognised(tmp_path, stored):
    starts = 3000.0 + STARTS + 0.1
    some = (EDGES, EDGES[::2], [0.03, 0.04])
    grid = [np.sort(np.add.outer(starts, times).ravel()) for times in some]
    single = [np.asarray(t, np.float32).astype(float) for t in [*grid, starts, starts + 1.0]]
    path = write(tmp_path / "a.nwb", single[:3], single[3], single[4])
    found = Recording.from_nwb(stored(path), plausible_rates=(0, 100))
    assert (found.lengths == 100).all()
    for unit, times in enumerate(some):
        bins = np.bincount(np.round(np.array(times) / 0.01).astype(int), minlength=100)
        np.testing.assert_array_equal(found.spikes[:, :, unit], np.tile(bins, (40, 1)))


def test_single_precision_too_far_from_zero_is_refused(tmp_path):
    far = 1e6
    path = write(tmp_path / "a.nwb", [(t + far).astype(np.float32) for t in UNITS], STARTS + far, STOPS + far)
    with pytest.raises(ValueError, match=r"a\.nwb: expected spike times that tell bins .* single precision"):
        Recording.from_nwb(path)
    path = in_single_precision(
        write(tmp_path / "b.nwb", [t + UNIX for t in UNITS], STARTS + UNIX, STOPS + UNIX)
    )
    with pytest.raises(ValueError, match=r"b\.nwb: expected start_time that tell bins .* single precision"):
        Recording.from_nwb(path)


def test_whole_seconds_are_no_single_precision(tmp_path):
    # At 4000 s single precision tells 0.25 ms apart: a spike that much before an edge stays before it.
    starts = 4000.0 + STARTS
    units = [np.sort(np.concatenate([starts + 0.0099, starts + 0.51])), starts + 0.2999, starts + 0.7]
    found = Recording.from_nwb(write(tmp_path / "a.nwb", units, starts, starts + 1), plausible_rates=(0, 99))
    assert [np.unique(np.nonzero(found.spikes[:, :, k])[1]).tolist() for k in range(3)] == [
        [0, 51],
        [29],
        [70],
    ]


def test_recordings_may_go_on_long_before_and_after(tmp_path):
    few = slice(18, 22)
    path = write(tmp_path / "a.nwb", [spikes(5, 3600, k) for k in range(3)], STARTS[few], STOPS[few])
    assert Recording.from_nwb(path).n_trials == 4


# --- events

FROM_TRIAL = [np.array([0.0, 0.105])] * 40


@pytest.mark.parametrize("zero", [0.0, 2.0])
def test_events_from_the_start_of_the_trial_are_refused(tmp_path, zero):
    pynwb = pytest.importorskip("pynwb")
    starts, stops = STARTS - 2 + zero, STOPS - 2 + zero
    sides = {"left_clicks": FROM_TRIAL, "right_clicks": FROM_TRIAL}
    path = write(tmp_path / "column.nwb", UNITS, starts, stops, columns=sides)
    with pytest.raises(ValueError, match=r"column\.nwb: expected the times of left_clicks .* add start_time"):
        Recording.from_nwb(path)
    path = write(tmp_path / "one.nwb", UNITS, starts, stops, columns={"go": [0.2] * 40})
    for how in ({"inputs": ["go"]}, {"align": "go"}):
        with pytest.raises(ValueError, match=r"one\.nwb: expected the times of go .* add start_time"):
            Recording.from_nwb(path, **how)
    times = np.sort(np.concatenate(FROM_TRIAL))
    series = [pynwb.TimeSeries(name=n, data=np.ones(80), unit="a", timestamps=times) for n in sides]
    path = write(tmp_path / "series.nwb", UNITS, starts, stops, stimuli=series)
    with pytest.raises(ValueError, match=r"series\.nwb: expected the times of left_clicks .* add start_time"):
        Recording.from_nwb(path)
    path = write(tmp_path / "table.nwb", UNITS, starts, stops, events={"licks": times})
    with pytest.raises(ValueError, match=r"table\.nwb: expected the times of licks .* add start_time"):
        Recording.from_nwb(path, inputs=["licks"])


def test_events_from_the_start_of_the_trial_are_converted_where_the_file_says_so(tmp_path):
    columns = {"clicks": FROM_TRIAL, "cue": [0.3] * 40}
    told = {"clicks": "seconds from the start of each trial", "cue": "time relative to trial start"}
    path = write(tmp_path / "a.nwb", columns=columns, told=told)
    found = Recording.from_nwb(path, inputs=["clicks"])
    np.testing.assert_array_equal(np.flatnonzero(found.inputs[7]), [0, 10])
    assert (found.inputs.sum(axis=1) == 2).all()
    found = Recording.from_nwb(path, align="cue", window=(0, 0.5))
    np.testing.assert_array_equal(found.spikes, binned(starts=STARTS + 0.3, n_bins=50))
    # A wrong word does not stand against what the times show.
    columns = {name: [start + np.asarray(row) for start, row in zip(STARTS, values, strict=True)]
               for name, values in columns.items()}  # fmt: skip
    path = write(tmp_path / "b.nwb", columns=columns, told=told)
    assert (Recording.from_nwb(path, inputs=["clicks"]).inputs.sum(axis=1) == 2).all()


def test_events_on_other_clocks(tmp_path):
    licks = np.sort(np.concatenate([STARTS + 0.105, STARTS + 0.5]))
    right = Recording.from_nwb(write(tmp_path / "a.nwb", events={"licks": licks}), inputs=["licks"])
    assert right.inputs.sum() == 80 and (right.inputs[:, [10, 50]] == 1).all()
    path = write(tmp_path / "ms.nwb", events={"licks": 1000 * licks})
    with pytest.raises(ValueError, match=r"ms\.nwb: expected the times of licks .* as if in milliseconds"):
        Recording.from_nwb(path, inputs=["licks"])
    said = Recording.from_nwb(path, inputs=["licks"], time_units={"events": 1e-3})
    np.testing.assert_array_equal(said.inputs, right.inputs)
    path = write(tmp_path / "unix.nwb", events={"licks": licks + UNIX})
    np.testing.assert_array_equal(Recording.from_nwb(path, inputs=["licks"]).inputs, right.inputs)


def test_a_few_events_may_be_in_the_first_trial_alone(tmp_path):
    path = write(tmp_path / "a.nwb", events={"flash": [2.3]})
    assert Recording.from_nwb(path, inputs=["flash"]).inputs[0, :, 0].nonzero()[0].tolist() == [30]
    assert END > STOPS[-1]


# --- a column of the trials has times of its own trials

FAR_APART = 5.0 + 10.0 * np.arange(60)
AFTER = np.random.default_rng(3).uniform(0.15, 0.45, 60)
LONG = [spikes(rate, 610, k) for k, rate in enumerate((8, 12, 20))]
OWN = FAR_APART + AFTER
OUTSIDE = {
    "milliseconds from the start": 1000 * AFTER,
    "milliseconds": 1000 * OWN,
    "of the trial before": np.roll(OWN, 1),
    "of another day": OWN + UNIX + 1e7,
}


@pytest.mark.parametrize("times", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_times_of_other_trials_are_refused(tmp_path, times):
    columns = {"rt": times, "clicks": [np.sort([t, t]) for t in times]}
    path = write(tmp_path / "a.nwb", LONG, FAR_APART, FAR_APART + 1, columns=columns)
    for how in ({"align": "rt", "window": (-0.2, 0.3)}, {"inputs": ["rt"]}, {"inputs": ["clicks"]}):
        with pytest.raises(ValueError, match=r"a\.nwb: expected the times of .* its own trial, got"):
            Recording.from_nwb(path, **how)


@pytest.mark.parametrize("word", [0.0, -1.0, 9999.0, np.nan])
@pytest.mark.parametrize("number", [1, 30, 50])
def test_words_for_no_event_are_no_times(tmp_path, word, number):
    # An event may be at 0 in a trial that begins there.
    for zero in (4.75,) if (word, number) == (0, 1) else (0.0, 4.75, 5.0):
        starts = FAR_APART - zero
        column = np.where(np.arange(60) < number, word, starts + AFTER)
        path = write(tmp_path / "a.nwb", LONG, starts, starts + 1, columns={"rt": column})
        with pytest.warns(UserWarning, match=f"left out of 60 trials {number} without rt"):
            found = Recording.from_nwb(path, align="rt", window=(-0.1, 0.3))
        np.testing.assert_allclose(found.info["onsets"], (starts + AFTER)[number:] - 0.1)
        assert Recording.from_nwb(path, inputs=["rt"]).inputs.sum() == 60 - number


def test_columns_in_their_unit_and_near_their_trial(tmp_path):
    right = binned(LONG, OWN, n_bins=30)
    path = write(tmp_path / "u.nwb", LONG, FAR_APART, FAR_APART + 1, columns={"rt": OWN + UNIX})
    np.testing.assert_array_equal(Recording.from_nwb(path, align="rt", window=(0, 0.3)).spikes, right)
    path = write(tmp_path / "ms.nwb", LONG, FAR_APART, FAR_APART + 1, columns={"rt": 1000 * OWN})
    said = Recording.from_nwb(path, align="rt", window=(0, 0.3), time_units={"events": 1e-3})
    assert abs(said.spikes.astype(int) - right).sum() <= 1
    path = write(tmp_path / "after.nwb", LONG, FAR_APART, FAR_APART + 1, columns={"reward": OWN + 3})
    found = Recording.from_nwb(path, align="reward", window=(-0.2, 0.3))
    np.testing.assert_allclose(found.info["onsets"], OWN + 2.8)


def test_a_trial_without_an_end_is_left_out(tmp_path):
    stops = np.where(np.arange(40) == 39, np.inf, STOPS)
    with pytest.warns(UserWarning, match="left out of 40 trials 1 of fewer than two bins"):
        assert Recording.from_nwb(write(tmp_path / "a.nwb", UNITS, STARTS, stops)).n_trials == 39
