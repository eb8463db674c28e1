"""The order of trials: what it may say, and that nothing depends on what it may not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrcore as lr
from lrcore.latents import order


def recorded(n=24, **changes):
    rng = np.random.default_rng(0)
    parts = {
        "spikes": rng.poisson(0.3, (n, 12, 5)),
        "lengths": rng.integers(6, 13, n),
        "choices": rng.integers(0, 2, n),
        "info": {"onsets": np.cumsum(rng.uniform(2, 5, n))},
    }
    return lr.Recording(bin_width=0.01, **(parts | changes))


WAYS = {
    "onsets": {},
    "clicks": {"info": None, "inputs": np.random.default_rng(1).poisson(0.2, (24, 12, 2)).astype(float)},
    "spikes alone": {"info": None, "choices": None, "lengths": np.full(24, 12)},
}


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(24)), st.sampled_from(list(WAYS)))
def test_own_order_is_of_the_trials_and_not_of_their_places(places, way):
    recording, places = recorded(**WAYS[way]), np.array(places)
    np.testing.assert_array_equal(
        places[order.own_order(recording.trials(places))], order.own_order(recording)
    )


def test_own_order_tells_nothing_of_time():
    recording = recorded(200, choices=np.repeat([0, 1], 100))
    found = order.own_order(recording)
    assert sorted(found) == list(range(200))
    assert abs(np.corrcoef(found, np.arange(200))[0, 1]) < 0.2


def test_session_order_is_that_of_the_onsets():
    recording = recorded()
    np.testing.assert_array_equal(order.session_order(recording), np.arange(24))
    places = np.random.default_rng(0).permutation(24)
    np.testing.assert_array_equal(order.session_order(recording.trials(places)), places)
    # In samples, since 1970, or before an event: only their order counts.
    for onsets in (np.arange(24) * 30_000, 1.7e9 + np.arange(24), -np.arange(24.0)[::-1]):
        np.testing.assert_array_equal(order.session_order(recorded(info={"onsets": onsets})), np.arange(24))


@pytest.mark.parametrize(
    "onsets",
    [np.zeros(24), np.where(np.arange(24) == 3, np.nan, np.arange(24.0)), np.ones((24, 2)), np.full(24, "a")],
    ids=["all alike", "one missing", "two columns", "words"],
)
def test_onsets_that_say_nothing(onsets):
    assert order.session_order(recorded(info={"onsets": onsets})) is None
    assert order.session_order(recorded(info=None)) is None


@given(st.integers(20, 90), st.integers(2, 10), st.floats(0.05, 0.95), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_folds_have_their_share_of_every_choice(n, count, share, seed):
    choices = (np.random.default_rng(seed).random(n) < share).astype(int)
    parts = order.folds(choices, n, count)
    assert sorted(np.concatenate(parts)) == list(range(n))
    for wanted in (choices, np.ones(n, int)):
        held = [wanted[part].sum() for part in parts]
        assert max(held) - min(held) <= 1


@pytest.mark.parametrize(
    ("choices", "follows"),
    [
        (np.repeat([0, 1], 50), True),
        (np.repeat([1, 0, 1], [30, 10, 60]), True),
        (np.repeat([0, 1], [92, 8]), True),
        (np.repeat([0, 1, 2, 3], 25), True),
        (np.repeat([0, 1], 10), True),
        (np.tile([0, 1], 50), False),
        (np.tile([0, 1, 2], 30), False),
        (np.ones(100, int), False),
    ],
    ids=["sorted", "blocks", "rare", "four", "twenty trials", "alternating", "three in turn", "one choice"],
)
def test_choices_that_follow_time(choices, follows):
    n = len(choices)
    assert order.follows_time(choices, np.arange(float(n))) == follows
    places = np.random.default_rng(0).permutation(n)
    # By time they do so however they stand; by their place they do no more.
    assert order.follows_time(choices[places], places.astype(float)) == follows
    assert not order.follows_time(choices[places], np.arange(float(n)))


def test_chance_seldom_follows_time():
    rng = np.random.default_rng(0)
    found = [order.follows_time(rng.integers(0, 2, 80), np.arange(80.0)) for _ in range(500)]
    assert np.mean(found) < 0.01


@pytest.mark.parametrize("labels", [None, np.repeat([0, 1], 30)], ids=["no choices", "sorted"])
def test_drifts_are_seen_beside_the_choices(labels):
    rng = np.random.default_rng(0)
    at = np.arange(60.0)
    step = 0 if labels is None else 0.2 * labels[:, None, None]
    still = rng.poisson(0.3 + step, (60, 40, 6))
    drifting = rng.poisson(
        0.3 + step + 0.1 * np.linspace(-1, 1, 60)[:, None, None] * (np.arange(6) == 2), (60, 40, 6)
    )
    assert not order.drifts(lr.Recording(spikes=still, choices=labels), at)
    assert order.drifts(lr.Recording(spikes=drifting, choices=labels), at)


def test_odds_without_their_course():
    """A drift is taken out, a step at the choice stays, in whatever order."""
    rng = np.random.default_rng(0)
    choices, at, noise = np.repeat([0, 1], 100), np.arange(200.0), rng.normal(size=200)
    drift = 3 * np.linspace(-1, 1, 200) ** 3 + np.linspace(-1, 1, 200)

    def apart(odds):
        left = order.without_course(odds, choices, at)
        places = rng.permutation(200)
        moved = order.without_course(odds[places], choices[places], at[places])
        np.testing.assert_allclose(moved, left[places], atol=1e-9)
        return left[choices == 1].mean() - left[choices == 0].mean()

    assert abs(apart(drift + noise)) < 0.5 and abs(apart(noise)) < 0.5
    assert apart(drift + noise + 4 * choices) == pytest.approx(4, abs=1.2)
