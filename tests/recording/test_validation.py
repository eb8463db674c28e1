"""The door of a recording: what is refused, and in which words."""

import numpy as np
import pytest
from recordings import LENGTHS, K, N, S, T, counts, parts

from lrcore.recording import Recording


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
