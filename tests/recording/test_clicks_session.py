"""The synthetic session: its truth, its statistics, and how near it comes to published ones."""

import os
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import root
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from lrcore.recording import NOISE, find_rat_session, rat_session
from lrcore.recording import clicks_session as make

needs_data = pytest.mark.skipif(
    find_rat_session() is None, reason="LRCORE_DATA names no folder with rat/*.mat"
)


@pytest.fixture(scope="module")
def session(clicks_session):
    return clicks_session()


def statistics(recording):
    """What a session is like, in numbers."""
    lengths, choices, inputs = recording.lengths, recording.choices, recording.inputs
    difference = (inputs[:, :, 1] - inputs[:, :, 0]).sum(axis=1)
    rates = recording.mean_rates
    counts = np.where(recording.mask[:, :, None], recording.spikes, np.nan)
    with warnings.catch_warnings():
        # No trial of one choice may be long enough for the last bins.
        warnings.simplefilter("ignore", RuntimeWarning)
        psth = [100 * np.nanmean(counts[choices == c], axis=0) for c in (0, 1)]
    late = [p[40:80].mean(axis=0) for p in psth]
    separation = np.abs(late[1] - late[0]) / (0.5 * (late[0] + late[1]))
    last = np.stack(
        [x[max(0, n - 20) : n].sum(axis=0) for x, n in zip(recording.spikes, lengths, strict=True)]
    )
    first = recording.spikes[:, :15].sum(axis=1)
    model = LogisticRegression(C=0.02, max_iter=1000)
    auc = [cross_val_score(model, np.sqrt(x), choices, cv=5, scoring="roc_auc").mean() for x in (first, last)]
    return {
        "median length": np.median(lengths),
        "longest": lengths.max(),
        "share of full trials": (lengths == 100).mean(),
        "median rate": np.median(rates),
        "lowest rate": rates.min(),
        "highest rate": rates.max(),
        "right after left clicks": choices[difference < -10].mean(),
        "right after right clicks": choices[difference > 10].mean(),
        "right at balance": choices[np.abs(difference) <= 3].mean(),
        "median separation of PSTHs": np.median(separation),
        "early choice AUC": auc[0],
        "late choice AUC": auc[1],
    }


BOUNDS = {
    "median length": (60, 85),
    "longest": (100, 100),
    "share of full trials": (0.08, 0.3),
    "median rate": (5, 10),
    "lowest rate": (1, 3.5),
    "highest rate": (20, 65),
    "right after left clicks": (0, 0.35),
    "right after right clicks": (0.65, 1),
    "right at balance": (0.2, 0.8),
    "median separation of PSTHs": (0.15, 0.6),
    "early choice AUC": (0.5, 0.85),
    "late choice AUC": (0.93, 1),
}


def outside(found):
    return {k: v for k, v in found.items() if not BOUNDS[k][0] <= v <= BOUNDS[k][1]}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_synthetic_session_is_like_a_published_one(seed, clicks_session):
    assert not outside(statistics(clicks_session(seed).recording))


@needs_data
@pytest.mark.data
def test_published_sessions_have_the_same_statistics():
    # Sessions differ, in the length of the stimulus more than in anything else: most are within the bounds in
    # each number, and no session is a stranger.
    sessions = sorted(Path(os.environ["LRCORE_DATA"], "rat").glob("*.mat"))
    strange = [set(outside(statistics(rat_session(path.stem)))) for path in sessions]
    assert max(map(len, strange)) <= 3
    for name in BOUNDS:
        assert np.mean([name in one for one in strange]) < 0.5, name


def test_the_psychometric_curve_rises(session):
    recording = session.recording
    gamma = recording.info["gamma"]
    right = [recording.choices[gamma == g].mean() for g in np.unique(gamma)]
    assert right[0] < 0.15 and right[-1] > 0.85
    # Within the error of about 50 trials a point.
    assert (np.diff(right) > -0.15).all()


def test_clicks_come_as_the_task_says(session):
    recording = session.recording
    clicks, gamma = recording.inputs, recording.info["gamma"]
    assert (clicks[:, 0] >= 1).all() and (clicks == np.round(clicks)).all()
    # Without the stereo click, left and right at exp(gamma), 40 a second while the stimulus lasts.
    left, right = (clicks.sum(axis=1) - 1).T
    for g in np.unique(gamma):
        chosen = gamma == g
        assert np.log((right[chosen].sum() + 1) / (left[chosen].sum() + 1)) == pytest.approx(g, abs=0.5)
    early = clicks[recording.lengths >= 30, 1:20].sum(axis=(1, 2)) / 0.19
    assert early.mean() == pytest.approx(40, abs=1.5)


def test_choices_and_latents_agree(session):
    recording, latents = session.recording, np.asarray(session.latents)
    assert latents.shape == (400, 100, 2) and not latents[~recording.mask].any()
    end = latents[np.arange(400), recording.lengths - 1]
    np.testing.assert_array_equal(recording.choices, end[:, 0] > 0)


def test_latents_follow_the_network(session):
    """z_{t+1} = 0.9 z_t + 0.1 F(z_t, u_t) + noise of standard deviation 0.06, uncorrelated with the state."""
    recording, z, network = session.recording, np.asarray(session.latents), session.network
    drift = np.asarray(network.drift(z, recording.inputs))
    kicks = (z[:, 1:] - 0.9 * z[:, :-1] - 0.1 * drift[:, :-1])[recording.mask[:, 1:]]
    assert kicks.std(axis=0) == pytest.approx(NOISE, rel=0.02)
    assert np.abs(kicks.mean(axis=0)).max() < 4 * NOISE / np.sqrt(len(kicks))
    assert np.abs(np.corrcoef(kicks.T, z[:, :-1][recording.mask[:, 1:]].T)[:2, 2:]).max() < 0.03


def test_spikes_are_poisson_with_the_stated_rates(session):
    network, mask = session.network, session.recording.mask
    rates = session.scale[None, None] * jax.nn.softplus(session.latents @ network.m.T + network.d[None, None])
    expected = 0.01 * np.asarray(rates)[mask]
    counts = session.recording.spikes[mask]
    error = (counts - expected).sum(axis=0) / np.sqrt(expected.sum(axis=0))
    assert np.abs(error).max() < 4.5 and error.std() == pytest.approx(1, abs=0.3)
    assert ((counts - expected) ** 2).sum() / expected.sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_the_network_has_two_choice_attractors_and_a_saddle(seed, clicks_session):
    network = clicks_session(seed, 10).network
    m, n, d = (np.asarray(x, float) for x in (network.m, network.n, network.d))

    def velocity(z):
        return np.tanh(m @ z + d) @ n / len(d) - z

    found = []
    for x in np.linspace(-2, 2, 9):
        for y in np.linspace(-1.5, 1.5, 5):
            solution = root(velocity, [x, y])
            new = all(np.linalg.norm(solution.x - z) > 1e-3 for z in found)
            if np.abs(velocity(solution.x)).max() < 1e-8 and new:
                found.append(solution.x)
    found.sort(key=lambda z: z[0])
    assert len(found) == 3
    growing = [
        int(
            (
                np.linalg.eigvals(np.asarray(jax.jacobian(network.velocity)(jnp.asarray(z, jnp.float32)))) > 0
            ).sum()
        )
        for z in found
    ]
    assert growing == [0, 1, 0]
    assert [z[0] for z in found] == pytest.approx([-1, 0, 1], abs=0.35)


def test_the_same_key_gives_the_same_session():
    a, b, c = (make(jr.key(s), n_trials=12, n_neurons=30) for s in (3, 3, 4))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert (np.asarray(a.latents) != np.asarray(c.latents)).any()


@pytest.mark.parametrize("n_neurons", [5, 60, 100])
def test_recorded_neurons_are_the_first_of_the_network(n_neurons, clicks_session):
    session = clicks_session(0, 60, n_neurons)
    assert session.recording.n_neurons == n_neurons == len(session.scale)
    assert session.network.n_neurons == max(n_neurons, 80)


@pytest.mark.parametrize("bad", [{"n_trials": 9}, {"n_neurons": 1}], ids=str)
def test_too_small_sessions_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}: expected at least"):
        make(jr.key(0), **bad)
