"""The door of a recording: what is refused, and in which words."""

import numpy as np
import pytest
from recordings import LENGTHS, K, N, S, T, counts, parts

from lrcore.recording import Recording


def changed(at, value):
    spikes = counts().astype(float)
    spikes[at] = value
    return spikes


class Labelled:
    """As other libraries label their axes."""

    def __init__(self, times):
        self.dims, self.coords = ("trial", "time", "unit"), {"time": times}

    def to_numpy(self):
        return counts()


REFUSED = {
    "neither": ({"spikes": None}, "either `spikes` or `rates`, got neither"),
    "both": ({"rates": counts()}, "either `spikes` or `rates`, got both"),
    "two axes": ({"spikes": counts()[0]}, r"expected axes \(trial, time, neuron\), got an array of shape"),
    "empty": ({"spikes": np.zeros((0, T, N))}, "got the empty shape"),
    "ragged": ({"spikes": [[[1, 2]], [[1, 2], [3, 4]]]}, "ragged sequence: pad unequal trials"),
    "bins in ms": ({"bin_width": 10}, r"expected seconds, at most 1, got 10: .* bin_width=0.01"),
    "step of another time": (
        {"spikes": Labelled(0.02 * np.arange(T))},
        "expected the step of the time coordinate, 0.02, got 0.01 s: give bin_width=0.02",
    ),
    "step in ms": ({"spikes": Labelled(20 * np.arange(T))}, "the time coordinate, 20, .* bin_width=0.02"),
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
    "choices missing": (
        {"choices": np.where(np.arange(S) == 4, np.nan, 1)},
        "NaN or infinity in 1 of 12, the first in trial 4: leave those trials out",
    ),
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


def test_times_that_agree_with_the_bins():
    for times in (0.01 * np.arange(T), 10 * np.arange(T), np.arange(T), ["a"] * T):
        assert Recording(**parts(spikes=Labelled(times))).bin_width == 0.01
    long = Labelled(np.arange(T) * np.timedelta64(20, "ms"))
    assert Recording(**parts(spikes=long, bin_width=0.02)).bin_width == 0.02
    with pytest.raises(TypeError, match="bin_width: expected seconds, got True"):
        Recording(**parts(bin_width=True))


def test_words_for_choices_are_numbered():
    words = np.array(["left", "right"] * 6)
    with pytest.raises(
        TypeError, match=r"got words such as 'left': number them, np\.unique\(choices, return_inv"
    ):
        Recording(**parts(choices=words))
    for given in (words.tolist(), words.astype(object)):
        with pytest.raises(TypeError, match="got words such as 'left'"):
            Recording(**parts(choices=given))


def test_numbers_of_other_machines_are_read():
    for kind in (">i2", ">i8", ">f8"):
        np.testing.assert_array_equal(
            Recording(**parts(spikes=counts().astype(kind))).spikes, Recording(**parts()).spikes
        )
    rates = Recording(rates=counts().astype(">f4") + 0.5)
    assert rates.rates.dtype == np.float32 and rates.rates.dtype.isnative


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


def evoked(seed=0, *, shape=(100, 100, 20), rates=None, course=None, bin_width=0.01):
    """Counts of neurons that respond alike to an event; of one rate, 5 Hz, unless `rates` are given."""
    rng = np.random.default_rng(seed)
    time = np.arange(shape[1]) / shape[1]
    course = 1 + 3 * np.exp(-((time - 0.4) ** 2) / 0.005) if course is None else course(time)
    rates = np.full(shape[2], 5.0) if rates is None else rates(rng, shape[2])
    return rng.poisson(course[:, None] * rates * bin_width, shape)


def unlike(rng, n):
    return 10 * np.exp(rng.normal(0, 0.7, n))


def test_swapped_axes_without_anything_to_compare_with():
    for seed in range(20):
        spikes = evoked(seed, rates=unlike, course=COURSES["ramp"], shape=(80, 60, 30))
        assert Recording(spikes=spikes).notes == ()
        with pytest.raises(
            ValueError, match="move the neuron axis last.*if the axes are right, give `lengths` or axes="
        ):
            Recording(spikes=spikes.transpose(0, 2, 1))
        # Said to be right, it is taken as right.
        for said in ({"lengths": [30] * 80}, {"axes": ("trial", "time", "neuron")}):
            assert Recording(spikes=spikes.transpose(0, 2, 1), **said).notes == ()


def test_axes_that_may_be_swapped_are_noted():
    spikes = counts(shape=(80, 60, 20))
    assert Recording(spikes=spikes).notes == ()
    for axes, at in (((2, 0, 1), 0), ((0, 2, 1), 1), ((1, 2, 0), 1)):
        (note,) = Recording(spikes=spikes.transpose(axes)).notes
        assert f"move it last, np.moveaxis(spikes, {at}, -1); if the axes are right, say so" in note
        assert note in repr(Recording(spikes=spikes.transpose(axes)))


COURSES = {
    "bump": None,
    "step": lambda t: 1 + 3 * (t > 0.5),
    "ramp": lambda t: 0.3 + 2 * t,
    "one bin": lambda t: 1 + 20 * (np.arange(len(t)) == 30),
    "decay": lambda t: 1 + 5 * (t > 0.3) * np.exp(-np.maximum(t - 0.3, 0) / 0.1),
    "25 Hz": lambda t: 1 + 0.9 * np.sin(2 * np.pi * 25 * 0.01 * np.arange(len(t)) + 0.3),
    "clicks": lambda t: 1 + 5 * np.isin(np.arange(len(t)), [3, 17, 19, 33, 48, 50, 71, 88]),
}


@pytest.mark.parametrize("course", COURSES.values(), ids=COURSES.keys())
@pytest.mark.parametrize(
    "rates", [None, lambda rng, n: np.sort(unlike(rng, n))], ids=["alike", "sorted by rate"]
)
def test_right_axes_are_never_refused(course, rates):
    for seed in range(4):
        Recording(spikes=evoked(seed, course=course, rates=rates))


def test_neurons_in_order_of_their_rates_are_noted():
    """Before a frozen noise stimulus, right axes look as swapped ones do."""
    for seed in range(12):
        noise = np.random.default_rng(seed).lognormal(0, 0.7, 100)
        spikes = evoked(seed, course=lambda t, noise=noise: noise, rates=unlike, shape=(120, 100, 20))
        for order in (1, -1):
            found = spikes[:, :, np.argsort(spikes.sum(axis=(0, 1)))[::order]]
            assert ["if the axes are right, say so" in note for note in Recording(spikes=found).notes] == [
                True
            ]


def test_axes_are_believed():
    spikes = counts()
    for order in ((2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)):
        names = [("trial", "time", "neuron")[i] for i in order]
        for said in (names, ", ".join(names), " ".join(f"{name}s" for name in names)):
            found = Recording(**parts(spikes=spikes.transpose(order), axes=said))
            np.testing.assert_array_equal(found.spikes, Recording(**parts()).spikes)
    # As many neurons as the longest trial has bins, and padding after it.
    wide = counts(shape=(S, 40, 30))
    assert Recording(spikes=wide, lengths=LENGTHS, axes="trial time neuron").n_time == 40
    with pytest.raises(
        ValueError, match="axes: expected trial, time and neuron in the order that spikes has"
    ):
        Recording(**parts(axes=("trial", "time", "input")))


def test_padding_as_long_as_neurons_can_be_cut():
    spikes = counts(shape=(S, 40, 30))
    with pytest.raises(ValueError, match=r"if the axes are right, cut the padding: spikes\[:, :30\]"):
        Recording(spikes=spikes, lengths=LENGTHS)
    assert Recording(spikes=spikes[:, :30], lengths=LENGTHS).n_time == 30


def test_true_rates_beyond_the_plausible_ones_are_admitted_on_request():
    Recording(**parts(bin_width=1e-5, plausible_rates=(0, np.inf)))
