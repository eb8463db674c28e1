"""pynapple's objects: the same recording as from a file, and what only they say."""

import numpy as np
import pytest
from sessions import STARTS, STOPS, UNITS, binned

from lrcore.recording import Recording

nap = pytest.importorskip("pynapple")


def objects(*, columns=None, names=None, **support):
    units = nap.TsGroup({k: nap.Ts(times) for k, times in enumerate(UNITS)}, metadata=names or {}, **support)
    return units, nap.IntervalSet(STARTS, STOPS, metadata=columns or {})


def test_counts_names_choices_and_windows():
    found = Recording.from_pynapple(*objects())
    np.testing.assert_array_equal(found.spikes, binned())
    assert found.neurons == ("0", "1", "2", "3") and found.notes == ()
    cues = STARTS + 0.25
    columns = {"choice": ["left", "right"] * 20, "gamma": np.arange(40.0), "cue": cues}
    units, trials = objects(columns=columns, names={"unit_name": ["a", "b", "c", "d"]})
    found = Recording.from_pynapple(units, trials)
    assert found.neurons == tuple("abcd")
    np.testing.assert_array_equal(found.choices, [0, 1] * 20)
    np.testing.assert_array_equal(found.info["gamma"], np.arange(40))
    for align in ("cue", nap.Ts(cues)):
        found = Recording.from_pynapple(units, trials, align=align, window=(-0.2, 0.8))
        np.testing.assert_array_equal(found.spikes, binned(starts=cues - 0.2))


def test_events_and_signals_are_inputs():
    times = np.arange(0, 130, 0.02)
    inputs = [
        nap.Ts(STARTS + 0.105),
        nap.Tsd(times, times),
        nap.TsdFrame(times, np.stack([times, -times], axis=1)),
    ]
    found = Recording.from_pynapple(*objects(), inputs=inputs).inputs
    np.testing.assert_array_equal(found[:, :, 0], np.tile(np.arange(100) == 10, (40, 1)))
    middle = STARTS[:, None] + 0.01 * np.arange(100) + 0.005
    np.testing.assert_allclose(found[:, :, 1:], np.stack([middle, middle, -middle], axis=2), rtol=1e-5)


def test_trials_beyond_what_was_recorded_are_left_out():
    support = nap.IntervalSet([0, 60], [40, 130])
    with pytest.warns(UserWarning, match="pynapple: left out of 40 trials 7 not within what was recorded"):
        found = Recording.from_pynapple(*objects(time_support=support))
    kept = (STOPS <= 40) | (STARTS >= 60)
    np.testing.assert_array_equal(found.spikes, binned(starts=STARTS[kept]))


def test_trials_in_which_no_events_were_looked_for_are_left_out():
    licks = nap.Ts(STARTS + 0.105).restrict(nap.IntervalSet([0, 60], [40, 130]))
    with pytest.warns(UserWarning, match="left out of 40 trials 7 with gaps in a Ts"):
        found = Recording.from_pynapple(*objects(), inputs=[licks])
    assert found.inputs.sum() == found.n_trials == 33
    others = nap.Ts(STARTS + 0.2).restrict(nap.IntervalSet([0], [100]))
    with pytest.warns(UserWarning, match="left out of 40 trials 14 with gaps in a Ts"):
        assert Recording.from_pynapple(*objects(), inputs=[licks, others]).n_trials == 26
    some = nap.Ts(STARTS[5:30] + 0.105)
    assert Recording.from_pynapple(*objects(), inputs=[some]).inputs.sum() == 25


def test_units_of_time_are_said_as_the_message_asks():
    _, trials = objects()
    units = nap.TsGroup({k: nap.Ts(1000 * times) for k, times in enumerate(UNITS)})
    with pytest.raises(ValueError, match=r"say so with time_units=\{'spikes': 0.001\}"):
        Recording.from_pynapple(units, trials)
    found = Recording.from_pynapple(units, trials, time_units={"spikes": 0.001})
    np.testing.assert_array_equal(found.spikes, binned())


def test_objects_that_are_no_events_are_named_by_their_kind():
    units, trials = objects()
    for how in ({"inputs": [units]}, {"align": units}):
        with pytest.raises(ValueError, match="got 'a TsGroup'|named 'a TsGroup', got none") as caught:
            Recording.from_pynapple(units, trials, **how)
        assert len(str(caught.value)) < 200


def test_trials_that_touch_keep_their_bins():
    units, _ = objects()
    with pytest.warns(UserWarning, match="Removing 1 microsecond"):
        trials = nap.IntervalSet(np.arange(40.0), np.arange(1.0, 41.0))
    found = Recording.from_pynapple(units, trials)
    assert (found.lengths == 100).all()


def test_other_objects_and_clocks_are_refused(monkeypatch):
    units, trials = objects()
    with pytest.raises(TypeError, match="units: expected a pynapple TsGroup, got ndarray"):
        Recording.from_pynapple(np.ones(3), trials)
    with pytest.raises(TypeError, match="trials: expected a pynapple IntervalSet, got ndarray"):
        Recording.from_pynapple(units, STARTS)
    relative = nap.TsGroup({k: nap.Ts(times[times < 1]) for k, times in enumerate(UNITS)})
    with pytest.raises(ValueError, match="from the start of each trial: add start_time"):
        Recording.from_pynapple(relative, trials)
    with pytest.raises(ValueError, match="pynapple: expected events or a signal named 'speed', got none"):
        Recording.from_pynapple(units, trials, inputs=["speed"])
    for what in ("choice", "photostimulus", "neurons"):
        with pytest.raises(ValueError, match=f"pynapple: expected a column 'foo' as `{what}`, got none"):
            Recording.from_pynapple(units, trials, **{what: "foo"})
    monkeypatch.setitem(__import__("sys").modules, "pynapple", None)
    with pytest.raises(ImportError, match=r'pip install "lrcore\[pynapple\]"'):
        Recording.from_pynapple(units, trials)
