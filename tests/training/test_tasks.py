"""Tasks: what stands in the trials; and networks that learn them."""

import jax
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

from lrcore import training
from lrcore.checks import x64
from lrcore.training import tasks


def test_clicks_say_the_side_with_more():
    task = tasks.clicks(jr.key(0), 200)
    heard = np.asarray(task.inputs).sum(axis=1)
    np.testing.assert_array_equal(task.labels, heard[:, 1] - heard[:, 0])
    assert (task.labels != 0).all() and 0.3 < (task.labels > 0).mean() < 0.7
    np.testing.assert_array_equal(task.targets[:, -1, 0], np.sign(task.labels))
    # 40 a second for 0.6 s.
    assert heard.sum(axis=1).mean() == pytest.approx(24, abs=1.5)
    quiet = np.asarray(task.weight[0] > 0)
    assert quiet.sum() == 20 and not np.asarray(task.inputs)[:, quiet].any()


def test_delayed_match_and_memory():
    task = tasks.delayed_match(jr.key(0), 100)
    first, second = (
        np.asarray(task.inputs)[:, 0].argmax(axis=1),
        np.asarray(task.inputs)[:, 50].argmax(axis=1),
    )
    np.testing.assert_array_equal(task.labels, 2 * first + second)
    np.testing.assert_array_equal(task.targets[:, 0, 0] > 0, first == second)
    memory = tasks.ring_memory(jr.key(0), 50)
    np.testing.assert_allclose(memory.targets[:, -1], memory.inputs[:, 0], atol=1e-6)
    np.testing.assert_allclose((np.asarray(memory.inputs[:, 0]) ** 2).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "rank", "options", "right"),
    [
        (tasks.clicks, 1, {"epochs": 40}, 0.9),
        (tasks.delayed_match, 3, {"learning_rate": 0.03, "seeds": 3}, 0.95),
    ],
)
def test_networks_learn_the_decisions(make, rank, options, right):
    """Judged on trials that were not trained on, by the network's own simulation."""
    trained = training.on_task(
        make(jr.key(0), 256), rank, n_neurons=100, alpha=0.1, key=jr.key(1), progress=False, **options
    )
    fresh = make(jr.key(2), 200)
    best = int(trained.error.argmin())  # the match has a plateau that not every seed leaves
    network = trained.networks[best]
    z = network.simulate(np.zeros(rank), fresh.inputs, 0.1)[:, :-1]
    said = np.asarray(network.rates(z, fresh.inputs) @ trained.readouts[best]) / 100
    assert (np.sign(said[:, -1, 0]) == np.asarray(fresh.targets[:, -1, 0])).mean() > right


def test_seeds_and_penalty():
    task = tasks.ring_memory(jr.key(0), 32)
    options = {"n_neurons": 50, "alpha": 0.1, "key": jr.key(1), "epochs": 60, "progress": False}
    two = training.on_task(task, 2, seeds=2, noise=0.01, **options)
    assert len(two.networks) == 2 and two.readouts.shape == (2, 50, 2)
    small = training.on_task(task, 2, penalty=1.0, **options)
    assert np.var(small.networks[0].n) < 0.7 * np.var(two.networks[0].n)


def test_double_precision_and_debug_nans(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with x64(), jax.debug_nans(True):
        task = tasks.ring_memory(jr.key(0), np.int64(8), pulse=np.int64(3), delay=np.int64(5))
        trained = training.on_task(
            task,
            np.int64(2),
            n_neurons=np.int64(10),
            alpha=np.float32(0.1),
            noise=np.float32(0.1),
            epochs=2,
            key=jr.key(1),
            progress=np.bool_(False),
        )
    assert task.inputs.dtype == trained.networks[0].n.dtype == trained.readouts.dtype == np.float64


def test_bad_input():
    task = tasks.ring_memory(jr.key(0), 8)
    options = {"n_neurons": 10, "alpha": 0.1, "key": jr.key(1), "progress": False}
    for bad, words in (
        ({"rank": 11}, "rank: expected at most the 10 neurons, got 11"),
        ({"alpha": 1.5}, r"alpha: expected a number in \(0, 1\], got 1.5"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            training.on_task(task, **{"rank": 2} | options | bad)
    with pytest.raises(ValueError, match="decide: expected fewer bins than the trial's 20, got 20"):
        tasks.clicks(jr.key(0), 5, steps=20, decide=20)
    with pytest.raises(ValueError, match="^targets: expected 5 along the axis 'time' of .*, got 4"):
        tasks.Task(np.zeros((2, 5, 1)), np.zeros((2, 4, 1)), np.zeros((2, 5)), np.zeros(2, int))
    with pytest.raises(ValueError, match="^n_trials"):
        tasks.ring_memory(jr.key(0), 0)
