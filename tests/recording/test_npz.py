"""`.npz` files: what they say of their bins and choices, and what is asked where they say two things."""

import numpy as np
import pytest
from recordings import LENGTHS, N, S, T, counts

from lrcore.recording import Recording


def read(tmp_path, how=None, **held):
    np.savez(tmp_path / "a.npz", **({"spikes": counts()} | held))
    return Recording.from_npz(tmp_path / "a.npz", **(how or {}))


STATED = {
    "bin_width": ({"bin_width": 0.02}, 0.02),
    "single precision": ({"bin_width": np.float32(0.02)}, 0.02),
    "one in an array": ({"dt": np.array([0.005])}, 0.005),
    "bin_size": ({"bin_size": 0.05}, 0.05),
    "milliseconds by name": ({"bin_width_ms": 20}, 0.02),
    "frequency": ({"fs": 50}, 0.02),
    "twice the same": ({"dt": 0.02, "bin_width_ms": 20.0}, 0.02),
    "with its axis": ({"dt": 0.02, "times": 0.02 * np.arange(T)}, 0.02),
    "with an axis of bins": ({"dt": 0.02, "times": np.arange(T)}, 0.02),
    "with an axis in milliseconds": ({"dt": 0.02, "times": 20 * np.arange(T)}, 0.02),
    "samples": ({"times": 300 * np.arange(T), "sampling_rate": 30_000}, 0.01),
    "samples, from some on": ({"times": 7_000_123 + 600 * np.arange(T), "sampling_rate": 30_000}, 0.02),
    "centres": ({"times": 0.01 + 0.02 * np.arange(T)}, 0.02),
    "edges": ({"times": 0.02 * np.arange(T + 1)}, 0.02),
    "before an event": ({"times": 0.02 * np.arange(T) - 0.3}, 0.02),
    "far from zero": ({"times": 5000 + 0.02 * np.arange(T)}, 0.02),
    "far in single precision": ({"times": (500 + 0.02 * np.arange(T)).astype(np.float32)}, 0.02),
    "nothing": ({}, 0.01),
}


@pytest.mark.parametrize(("held", "width"), STATED.values(), ids=STATED.keys())
def test_the_bin_width_that_a_file_states(tmp_path, held, width):
    assert read(tmp_path, **held).bin_width == width
    # Said as well, it is the same.
    assert read(tmp_path, {"bin_width": width}, **held).bin_width == width


REFUSED = {
    "bins": ({"times": np.arange(T)}, "got steps of 1, as of bins or milliseconds: give bin_width"),
    "bins from 1 on": ({"times": np.arange(1.0, T + 1)}, "got steps of 1"),
    "bins of rates": ({"spikes": None, "rates": counts() / 7.0, "times": np.arange(T)}, "got steps of 1"),
    "bins of each trial": ({"times": np.tile(np.arange(T), (S, 1))}, "got steps of 1"),
    "milliseconds of each trial": ({"times": 977.0 * np.arange(S)[:, None] + np.arange(T)}, "got steps of 1"),
    "centres of bins": ({"times": 0.5 + np.arange(T)}, "got steps of 1"),
    "half bins": ({"times": 0.5 * np.arange(T)}, "got steps of 0.5"),
    "one bin": ({"dt": 1, "spikes": None, "rates": counts() / 7.0}, "the width of a bin in seconds, got 1"),
    "frequency and width": ({"fs": 50, "dt": 0.01}, "50 bins in a second, 0.02 s each, and bins of 0.01 s"),
    "frequency and axis": ({"fs": 50, "times": 0.01 * np.arange(T)}, "expected one bin width, got 50 bins"),
    "milliseconds": ({"times": 20 * np.arange(T)}, "bin_width: expected seconds, .* give bin_width=0.02"),
    "stated in milliseconds": ({"dt": 20}, "bin_width: expected seconds, .* give bin_width=0.02"),
    "two widths": ({"dt": 0.02, "bin_width": 0.01}, "expected one bin width, got"),
    "another axis": (
        {"dt": 0.01, "times": 0.02 * np.arange(T)},
        "in steps of the bin width 0.01 s, got .* 0.02",
    ),
    "raw samples": ({"fs": 30_000}, "expected the number of bins in a second, got 30000, as of raw samples"),
    "not positive": ({"dt": -0.01}, "expected a positive number as 'dt'"),
    "no number": ({"dt": "10 ms"}, "expected a positive number as 'dt'"),
    "many": ({"dt": np.full(T, 0.01)}, r"expected a positive number as 'dt', got float64 of shape \(30,\)"),
    "uneven": ({"times": np.arange(T) ** 2 * 0.01}, "in even steps, got uneven ones"),
    "falling": ({"times": -0.01 * np.arange(T)}, "in even steps, got uneven ones"),
    "of something else": (
        {"times": np.arange(T + 5) * 0.01},
        "as the onset of each of 12 trials, or as the axis",
    ),
    "words": ({"times": np.array(["a"] * T)}, "expected numbers as `times`"),
}


@pytest.mark.parametrize(("held", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_files_that_say_nothing_clear_of_their_bins(tmp_path, held, words):
    with pytest.raises(ValueError, match=rf"a\.npz: .*{words}"):
        held = {"spikes": counts()} | held
        np.savez(tmp_path / "a.npz", **{k: v for k, v in held.items() if v is not None})
        Recording.from_npz(tmp_path / "a.npz")


def test_what_the_user_says_of_bins_without_a_unit_is_believed(tmp_path):
    for step in (1, 7, 300):
        assert read(tmp_path, {"bin_width": 0.02}, times=step * np.arange(T)).bin_width == 0.02
    assert read(tmp_path, {"bin_width": 0.02}, fs=30_000).bin_width == 0.02
    assert read(tmp_path, {"bin_width": 0.02}, dt=1).bin_width == 0.02
    with pytest.raises(ValueError, match="50 bins in a second, 0.02 s each, and bins of 0.01 s: leave one"):
        read(tmp_path, {"bin_width": 0.01}, fs=50)
    with pytest.raises(
        ValueError, match=r"the bin width that the file states, 0.02 s, got bin_width=0.01: leave"
    ):
        read(tmp_path, {"bin_width": 0.01}, dt=0.02)


SQUARE = counts(shape=(T, T, N))


@pytest.mark.parametrize("step", [0.8, 0.3, 2.0, 3.0])
def test_as_many_trials_as_bins_may_be_onsets_or_an_axis(tmp_path, step):
    onsets = step * np.arange(T)
    with pytest.raises(
        ValueError, match=rf"either onsets or a time axis, got even steps of {step:g} .* bin_width"
    ):
        read(tmp_path, spikes=SQUARE, times=onsets)
    found = read(tmp_path, {"bin_width": 0.01}, spikes=SQUARE, times=onsets)
    np.testing.assert_array_equal(found.info["onsets"], onsets)
    found = read(tmp_path, spikes=SQUARE, times=onsets, dt=0.02)
    assert found.bin_width == 0.02 and "onsets" in found.info
    # Onsets that are not even are no axis; trials do not overlap, so that a fine axis is one.
    uneven = np.cumsum(np.random.default_rng(0).uniform(1, 2, T))
    np.testing.assert_array_equal(read(tmp_path, spikes=SQUARE, times=uneven).info["onsets"], uneven)
    assert read(tmp_path, spikes=SQUARE, times=0.02 * np.arange(T)).bin_width == 0.02


def test_an_axis_for_each_trial_has_the_onsets(tmp_path):
    onsets = np.cumsum(np.random.default_rng(0).uniform(1, 2, S))
    found = read(tmp_path, times=onsets[:, None] + 0.02 * np.arange(T))
    assert found.bin_width == pytest.approx(0.02)
    np.testing.assert_array_equal(found.info["onsets"], onsets)
    beyond = np.where(np.arange(T) < LENGTHS[:, None], onsets[:, None] + 0.02 * np.arange(T), np.nan)
    assert read(tmp_path, times=beyond, lengths=LENGTHS).bin_width == pytest.approx(0.02)
    with pytest.raises(ValueError, match=r"`times` \(trial, time\) in even steps"):
        read(tmp_path, times=onsets[:, None] + 0.02 * np.arange(T) ** np.linspace(1, 2, S)[:, None])


def test_onsets_in_samples_become_seconds(tmp_path):
    onsets = np.cumsum(np.random.default_rng(0).integers(30_000, 90_000, S))
    found = read(tmp_path, times=onsets, sampling_rate=30_000, dt=0.02)
    np.testing.assert_allclose(found.info["onsets"], onsets / 30_000)
    assert read(tmp_path, times=onsets, fs=50).bin_width == 0.02
    np.testing.assert_array_equal(read(tmp_path, times=onsets).info["onsets"], onsets)


def test_axes_are_believed_and_checked(tmp_path):
    turned = counts().transpose(2, 0, 1)
    held = {"choices": np.arange(S) % 2, "times": 0.02 * np.arange(T)}
    found = read(tmp_path, {"axes": ("neuron", "trial", "time")}, spikes=turned, **held)
    np.testing.assert_array_equal(found.spikes, counts())
    assert found.bin_width == 0.02
    with pytest.raises(ValueError, match=r"a\.npz: .* Say it with axes"):
        read(tmp_path, spikes=turned, **held)
    with pytest.raises(ValueError, match=r"a\.npz: axes: expected trial, time and neuron in the order"):
        read(tmp_path, {"axes": "trial time"})
    slow = counts(rate=0.0001, shape=(S, 1000, N))
    slow[1, 5] = 1
    with pytest.raises(ValueError, match="expected a mean rate of 0.05 to 500 Hz"):
        read(tmp_path, spikes=slow)
    assert read(tmp_path, {"plausible_rates": (0, 500)}, spikes=slow).n_time == 1000


def test_trials_without_a_choice_are_left_out(tmp_path):
    choices = np.where(np.arange(S) == 4, np.nan, np.arange(S) % 2)
    held = {"lengths": LENGTHS, "externalinputs": np.ones((S, T, 2)), "times": np.arange(S) * 3.0}
    with pytest.warns(UserWarning, match=r"a\.npz: left out of 12 trials 1 without a choice"):
        found = read(tmp_path, choices=choices, **held)
    kept = np.arange(S) != 4
    np.testing.assert_array_equal(found.choices, (np.arange(S) % 2)[kept])
    np.testing.assert_array_equal(found.lengths, LENGTHS[kept])
    np.testing.assert_array_equal(found.info["onsets"], 3.0 * np.arange(S)[kept])
    assert found.inputs.shape[0] == found.n_trials == S - 1
    assert read(tmp_path, choices=np.full(S, np.nan)).choices is None
    found = read(tmp_path, choices=np.array(["left", "right"] * 6))
    np.testing.assert_array_equal(found.choices, np.arange(S) % 2)
    found = read(tmp_path, choices=np.array([-1, 1] * 6))
    np.testing.assert_array_equal(found.choices, np.arange(S) % 2)
    assert "choices by 'choices': -1 is 0, 1 is 1" in repr(found)
    found = read(tmp_path, {"coding": {3: 1, 5: 0}}, choices=np.array([3, 5] * 6))
    np.testing.assert_array_equal(found.choices, 1 - np.arange(S) % 2)
