"""Held-out scores against direct computations, and what co-smoothing may not see."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import lrcore as lr
from lrcore.latents import heldout

QUICK = {"folds": 3, "iterations": 12, "progress": False}


@pytest.fixture(scope="module")
def recording(clicks_session):
    return clicks_session(0, 60, 24).recording


@pytest.fixture(scope="module")
def found(recording):
    return heldout.evaluate(recording, 2, key=jr.key(1), only=[0, 2], **QUICK)


def without(recording, **changed):
    """The recording with other parts, or without some."""
    parts = {name: getattr(recording, name) for name in ("spikes", "lengths", "inputs", "choices")}
    return lr.Recording(bin_width=recording.bin_width, **(parts | changed))


def test_bits_per_spike_against_scipy(recording):
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.05, 0.3, recording.spikes.shape)
    reference = rng.uniform(0.05, 0.3, recording.n_neurons)
    y, inside = recording.spikes, recording.mask
    gain = scipy.stats.poisson.logpmf(y, expected) - scipy.stats.poisson.logpmf(y, reference)
    wanted = gain[inside].sum() / y[inside].sum() / np.log(2)
    assert heldout.bits_per_spike(recording, expected, reference) == pytest.approx(wanted, rel=1e-9)
    assert heldout.bits_per_spike(recording, reference, reference) == 0


def test_a_neuron_is_predicted_without_its_own_spikes(recording, found):
    fold = found.folds[0]
    test = recording.trials(fold.test)
    group = np.arange(test.n_neurons) % 4 == 1
    spikes = test.spikes.copy()
    spikes[..., group] = np.random.default_rng(0).permuted(spikes[..., group], axis=0) * test.mask[..., None]
    again = heldout.co_smoothing(fold.fit, without(test, spikes=spikes), fold.level)
    np.testing.assert_array_equal(again[..., group], fold.neurons[..., group])
    assert np.abs(again[..., ~group] - fold.neurons[..., ~group]).max() > 1e-3


def test_training_trials_alone_make_a_fold(recording, found):
    """Other spikes in the test trials change neither the model nor the baseline of a fold."""
    fold = found.folds[0]
    spikes = recording.spikes.copy()
    spikes[fold.test] = spikes[fold.test][:, :, ::-1]
    again = heldout.evaluate(without(recording, spikes=spikes), 2, key=jr.key(1), only=[0], **QUICK)
    # One fold has no error: none is said.
    assert repr(again).startswith("1 fold, of unknown error") and "+-" not in repr(again)
    np.testing.assert_array_equal(again.folds[0].fit.model.m, fold.fit.model.m)
    np.testing.assert_array_equal(again.folds[0].inputs, fold.inputs)
    assert np.abs(again.folds[0].neurons - fold.neurons).max() > 1e-3


def test_scores(recording, found):
    scores = found.scores
    assert (scores["neurons"] > scores["time"]).all() and (scores["inputs"] > scores["time"]).all()
    assert (scores["choice"] > 0.8).all() and (scores["choice_inputs"] > 0.7).all()
    assert found.psth.shape == (24,) and np.nanmax(found.psth) > 0.3
    first, last = found.folds
    assert not set(first.test) & set(last.test) and set(first.train) | set(first.test) == set(range(60))
    mean = recording.trials(first.train).mean_rates * recording.bin_width
    direct = heldout.bits_per_spike(recording.trials(first.test), first.neurons, mean)
    assert scores["neurons"][0] == pytest.approx(direct)
    assert "2 folds" in repr(found) and "neurons" in repr(found) and repr(found).count(" +- ") == len(scores)


def test_folds_on_threads_are_the_same(recording, found):
    with ThreadPoolExecutor(2) as pool:
        again = heldout.evaluate(recording, 2, key=jr.key(1), only=[0, 2], executor=pool, **QUICK)
    for name, values in found.scores.items():
        np.testing.assert_array_equal(again.scores[name], values)


def test_select_takes_the_simplest_within_the_error(monkeypatch, recording):
    scores = {1: [0.10, 0.20, 0.30], 2: [0.129, 0.231, 0.329], 3: [0.13, 0.23, 0.33], 4: [0.12, 0.22, 0.32]}

    def evaluate(recording, rank, **options):
        return heldout.Evaluation((), {"neurons": np.array(scores[rank])}, np.zeros(0))

    monkeypatch.setattr(heldout, "evaluate", evaluate)
    candidates = [{"rank": rank} for rank in scores]
    best, table = heldout.select(recording, candidates, key=jr.key(0))
    assert best == 1 and table.tolist() == list(scores.values())
    assert heldout.select(recording, candidates[::-1], key=jr.key(0))[0] == 1
    assert heldout.select(recording, candidates[:1] + candidates[2:], key=jr.key(0))[0] == 1


def test_without_choices_or_inputs(recording):
    silent = without(recording, inputs=None)
    found = heldout.evaluate(silent, 2, key=jr.key(1), only=[0], **QUICK)
    assert set(found.scores) == {"time", "neurons", "choice"} and found.folds[0].inputs is None
    assert found.folds[0].fit.embedding().b is None
    one = without(recording, choices=np.ones(60, int))
    found = heldout.evaluate(one, 2, key=jr.key(1), only=[0], **QUICK)
    assert set(found.scores) == {"time", "neurons", "inputs"} and np.isfinite(found.psth).any()


def test_bad_input(recording):
    rates = lr.Recording(rates=np.random.default_rng(0).normal(size=(30, 20, 4)), bin_width=0.01)
    with pytest.raises(ValueError, match="^recording: expected spikes, got rates"):
        heldout.evaluate(rates, 2, key=jr.key(0))
    with pytest.raises(ValueError, match="^recording: expected at least 20 trials .* got 19"):
        heldout.evaluate(recording.trials(np.arange(19)), 2, key=jr.key(0))


def test_a_state_that_ran_away_has_even_odds(found):
    fold = found.folds[0]
    mean = fold.held.posterior.mean.at[1].set(jnp.nan)
    lost = eqx.tree_at(lambda s: s.posterior.mean, fold.held, mean)
    choices = fold.fit.recording.choices
    odds = heldout._odds(fold.fit, lost, choices)
    assert odds[1] == 0
    np.testing.assert_array_equal(np.delete(odds, 1), np.delete(fold.choice, 1))


# --- predictions that have no score


@pytest.mark.parametrize("which", ["expected", "reference"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (-5.0, "got 1 negative of"),
        (-1e-12, "got 1 negative of"),
        (np.nan, "got 1 NaN of"),
        (np.inf, "got 1 infinite of"),
        (0.0, "got 1 0 where there are spikes of"),
    ],
)
def test_predictions_without_a_poisson_score_are_refused(recording, which, wrong, words):
    """By name and number, one of them among thousands; and not in the padding, where nothing is looked at."""
    y = recording.spikes
    right, bad = np.full(y.shape, 0.1), np.full(y.shape, 0.1)
    bad[tuple(np.argwhere((y > 0) & recording.mask[..., None])[0])] = wrong
    parts = {"expected": right, "reference": right, which: bad}
    with pytest.raises(ValueError, match=f"^{which}: expected positive counts a bin, {words}"):
        heldout.bits_per_spike(recording, **parts)
    padding = np.where(recording.mask[..., None], 0.1, wrong)
    assert heldout.bits_per_spike(recording, **(parts | {which: padding})) == 0


def test_more_predictions_without_a_score(recording):
    y = recording.spikes
    inside = int(recording.mask.sum()) * recording.n_neurons
    with pytest.raises(ValueError, match=rf"^expected: .* got {inside:,} negative of {inside:,}"):
        heldout.bits_per_spike(recording, np.full(y.shape, -5.0), np.full(24, 0.1))
    with pytest.raises(ValueError, match="^expected: .* got .* NaN"):
        heldout.bits_per_spike(recording, np.ma.masked_less(np.full(y.shape, 0.1), 0.2), np.full(24, 0.1))
    with pytest.raises(ValueError, match=r"^reference: expected the shape .* or \(24,\), got \(7,\)"):
        heldout.bits_per_spike(recording, np.full(y.shape, 0.1), np.ones(7))
    none = eqx.tree_at(lambda r: r.spikes, recording, np.zeros_like(y))
    with pytest.raises(ValueError, match="^recording: expected spikes to score, got none"):
        heldout.bits_per_spike(none, np.full(y.shape, 0.1), np.full(24, 0.1))
    # 0 where there are no spikes is a prediction like any other.
    silent = np.where(y > 0, 0.1, 0.0)
    assert heldout.bits_per_spike(recording, silent, np.full(24, 0.1)) > 1


@pytest.mark.parametrize("which", ["expected", "reference"])
def test_predictions_in_hertz_are_refused(recording, which):
    counts = np.broadcast_to(recording.mean_rates * 0.01, recording.spikes.shape)
    right = {"expected": counts, "reference": counts}
    with pytest.raises(
        ValueError, match=f"^{which}: .* off by the bin width of 0.01 s.*multiply by bin_width"
    ):
        heldout.bits_per_spike(recording, **(right | {which: counts / 0.01}))
    with pytest.raises(ValueError, match=f"^{which}: .* off by the bin width .* leave them as they were"):
        heldout.bits_per_spike(recording, **(right | {which: counts * 0.01}))
    # One neuron of many so far off is a bad prediction, and has its score; a bad reference flatters all.
    one = np.where(np.arange(24) == 5, 100.0, 1.0) * counts
    if which == "expected":
        assert np.isfinite(heldout.bits_per_spike(recording, one, counts))
    else:
        with pytest.raises(ValueError, match="^reference: .* neuron 5 has "):
            heldout.bits_per_spike(recording, counts, one)


@pytest.mark.parametrize("width", [0.1, 0.2])
def test_a_reference_that_flatters_is_refused(width):
    counts = np.random.default_rng(0).poisson(0.8 * width / 0.1, (20, 40, 8))
    recording = lr.Recording(spikes=counts, bin_width=width)
    mean = recording.mean_rates * width
    few = np.arange(8) < 4
    flattering = [
        *(mean / width, np.where(few, mean / width, mean), 40 * mean, counts.sum(axis=(0, 1))),
        *(np.where(np.arange(8) == 3, 1e-300, mean), 0.05 * mean),
    ]
    for reference in flattering:
        with pytest.raises(ValueError, match="^reference: expected counts a bin"):
            heldout.bits_per_spike(recording, mean, reference)
    # Of other trials, a course over time, or one rate for all neurons: honest references.
    course = np.broadcast_to(counts.mean(axis=0), counts.shape) + 0.01
    for reference in (2 * mean, mean / 2, np.full(8, mean.mean()), course):
        assert np.isfinite(heldout.bits_per_spike(recording, mean, reference))


def test_a_reference_of_few_spikes_is_not_looked_at():
    """Nor is a neuron that was lost between training and test trials."""
    spikes = np.random.default_rng(0).poisson(0.2, (21, 40, 8))
    recording = lr.Recording(spikes=spikes)
    few = eqx.tree_at(lambda r: r.spikes, recording, np.zeros_like(spikes))
    few.spikes[0, [3, 20], 1] = 1
    assert np.isfinite(heldout.bits_per_spike(few, np.full(8, 0.1), np.full(8, 0.2)))
    lost = eqx.tree_at(lambda r: r.spikes, recording, np.where(np.arange(8) == 2, 0, spikes))
    assert np.isfinite(heldout.bits_per_spike(lost, np.full(8, 0.2), np.full(8, 0.2)))


@pytest.mark.parametrize("which", ["expected", "reference"])
@pytest.mark.parametrize("kind", [complex, str, object])
def test_predictions_that_are_no_real_numbers_are_refused(recording, which, kind):
    right = {"expected": np.full(24, 0.1), "reference": np.full(24, 0.1)}
    with pytest.raises(ValueError, match=f"^{which}: expected real numbers, got "):
        heldout.bits_per_spike(recording, **(right | {which: np.full(24, 0.1).astype(kind)}))


# --- the order of trials


def session(*, signal=0.0, drift=0.0, onsets=False, trials=60, seed=0):
    """Trials sorted by choice, with and without a signal of the choice and a drift over trials."""
    rng = np.random.default_rng(seed)
    neurons, time = 10, 20
    choices, along = np.repeat([0, 1], trials // 2), np.linspace(-1, 1, trials)
    z = 0.2 * np.cumsum(rng.normal(size=(trials, time)), axis=1)
    a, b, c = rng.normal(size=(3, neurons))
    log = z[..., None] * a + (signal * (choices - 0.5)[:, None] * b + drift * along[:, None] * c)[:, None]
    return lr.Recording(
        spikes=rng.poisson(0.3 * np.exp(log)),
        choices=choices,
        lengths=np.full(trials, time),
        info={"onsets": 5.0 * np.arange(trials)} if onsets else None,
    )


def scored(recording, **options):
    quick = {"folds": 4, "iterations": 3, "features": 16, "progress": False}
    return heldout.evaluate(recording, 1, key=jr.key(0), **(quick | options))


@pytest.mark.parametrize("onsets", [True, False])
@pytest.mark.parametrize("way", ["shuffled", "reversed", "sorted by length of spiking"])
def test_scores_are_the_same_in_any_order(onsets, way):
    """To the last digit; and each trial is in the same fold."""
    recording = session(signal=0.7, drift=0.3 if onsets else 0.0, onsets=onsets)
    places = {
        "shuffled": np.random.default_rng(1).permutation(60),
        "reversed": np.arange(60)[::-1],
        "sorted by length of spiking": np.argsort(recording.spikes.sum(axis=(1, 2)), kind="stable"),
    }[way]
    one, other = scored(recording), scored(recording.trials(places))
    for name, values in one.scores.items():
        np.testing.assert_array_equal(other.scores[name], values)
    np.testing.assert_array_equal(other.psth, one.psth)
    for here, there in zip(one.folds, other.folds, strict=True):
        np.testing.assert_array_equal(places[there.test], here.test)
        np.testing.assert_array_equal(places[there.train], here.train)
        np.testing.assert_array_equal(there.neurons, here.neurons)


@pytest.mark.parametrize("seed", [1, 2])
def test_sorting_by_choice_gives_no_advantage(seed):
    """A true signal scores as it does in the order of any other session: the drift does not learn it."""
    recording = session(signal=1.0, trials=80, seed=seed)
    mixed = recording.trials(np.random.default_rng(0).permutation(80))
    still, slow, other = (
        scored(x, slow=slow).scores for x, slow in ((recording, False), (recording, True), (mixed, True))
    )
    # By neighbours of either choice alike it would be 0.1 to 0.3 bits.
    assert slow["time"].mean() < still["time"].mean() + 0.02
    assert abs(slow["choice"].mean() - other["choice"].mean()) < 0.08 and other["choice"].mean() > 0.8


@pytest.mark.parametrize("known", [{"onsets": True}, {"slow": True}], ids=["onsets", "vouched for"])
@pytest.mark.filterwarnings("error")
def test_a_drift_along_with_the_choices_says_nothing_of_them(known):
    """Sorted trials whose rates drift, and no other choice: chance."""
    onsets, options = known.get("onsets", False), {"slow": True} if "slow" in known else {}
    found = []
    for seed in range(3):
        recording = session(drift=0.8, onsets=onsets, trials=80, seed=seed)
        found.append(scored(recording, **options).scores["choice"].mean())
    assert abs(np.mean(found) - 0.5) < 0.1 and max(found) < 0.68


def test_places_in_the_array_are_no_time():
    """Without onsets the score of a drift is the same however trials stand, and is warned of in blocks."""
    recording = session(drift=0.8, trials=80)
    with pytest.warns(UserWarning, match=r"^choices stand in blocks .* give info\[\"onsets\"\]") as said:
        blocks = scored(recording)
    assert len([one for one in said if "choices stand" in str(one.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = scored(recording.trials(np.random.default_rng(0).permutation(80)))
        # In blocks without a drift, there is nothing to warn of.
        scored(session(trials=80), only=[0])
    for name, values in blocks.scores.items():
        np.testing.assert_array_equal(mixed.scores[name], values)


def test_no_signal_at_all_sorted_is_chance():
    found = [
        [scored(session(trials=80, seed=seed), slow=slow).scores for seed in range(3)]
        for slow in (False, True)
    ]
    for some in found:
        assert abs(np.mean([x["choice"] for x in some]) - 0.5) < 0.1
    still, slow = (np.mean([x["time"] for x in some]) for some in found)
    assert slow < still + 0.003


def test_every_fold_has_its_share_of_a_rare_choice():
    recording = session(signal=0.7)
    choices = np.where(np.arange(60) < 54, 0, 1)
    rare = eqx.tree_at(lambda r: r.choices, recording, choices)
    found = scored(rare, folds=5)
    assert [choices[fold.test].sum() for fold in found.folds] in ([2, 1, 1, 1, 1], [1, 1, 1, 1, 2])
    assert len(found.scores["choice"]) == 5


# --- copies, silence


def test_copies_are_not_predicted_from_one_another():
    """Independent neurons, each twice or nearly: no co-smoothing, where they predicted each other before."""
    rng = np.random.default_rng(0)
    one = rng.poisson(0.15 * np.exp(0.5 * rng.normal(size=6)), (60, 50, 6))
    missed = rng.binomial(one, 0.9)
    for twice in (one[:, :, [3, 0, 1, 2, 5, 4]], missed):
        recording = lr.Recording(spikes=np.concatenate([one, twice], axis=2))
        with pytest.warns(UserWarning, match="neurons are duplicates"):
            found = heldout.evaluate(
                recording, 3, key=jr.key(0), folds=2, only=[0], iterations=4, progress=False
            )
        assert found.scores["neurons"][0] < found.scores["time"][0] + 0.005
    alike = lr.Recording(spikes=np.repeat(one[:, :, :1], 4, axis=2))
    fold = found.folds[0]
    same = eqx.tree_at(lambda f: f.recording, fold.fit, alike)
    with pytest.raises(ValueError, match="got 4 that are all copies of one"):
        heldout.co_smoothing(same, alike, fold.level)


def test_neurons_that_a_fold_cannot_learn_are_named_first(recording):
    spikes = recording.spikes.copy()
    spikes[:, :, [3, 7]] = 0
    spikes[5, 2, [3, 7]] = 1
    with pytest.raises(ValueError, match=r"got 2 of 24 that do not.*np.delete\(np.arange\(24\), \[3, 7\]\)"):
        heldout.evaluate(without(recording, spikes=spikes), 2, key=jr.key(1), **QUICK)


def test_a_drift_that_ran_away_leaves_the_baseline(found):
    fold = found.folds[0]
    lost = np.where(np.arange(len(fold.test))[:, None, None] == 1, np.nan, fold.neurons)
    said = heldout._said(lost, fold.level)
    np.testing.assert_array_equal(said[1], fold.level[1])
    np.testing.assert_array_equal(np.delete(said, 1, axis=0), np.delete(fold.neurons, 1, axis=0))
    assert heldout._said(0 * fold.level, fold.level).min() > 0


def test_other_bins_are_refused(found, recording):
    coarse = lr.Recording(spikes=recording.spikes, bin_width=0.02, lengths=recording.lengths)
    with pytest.raises(ValueError, match="expected bins of 0.01 s, as those of the fit, got 0.02 s"):
        lr.latents.infer(found.folds[0].fit, coarse)
