"""Tasks for networks: inputs, and what the read-out should do with them."""

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .. import checks
from ..checks import ArrayLike, floats


class Task(eqx.Module):
    """Trials of a task, in bins of the network's time step.

    - `inputs`: (trial, time, input). `targets`: (trial, time, output), wanted of the read-out.
    - `weight`: (trial, time), 1 where the target counts, 0 where the read-out is free; 1 everywhere by
      default.
    - `labels`: (trial,), the condition of each trial; 0 by default.

    **Raises** `ValueError` for shapes that disagree.

    >>> import numpy as np
    >>> Task(np.ones((3, 20, 1)), np.ones((3, 20, 1))).n_trials
    3
    """

    inputs: Float[Array, "trial time input"]
    targets: Float[Array, "trial time output"]
    weight: Float[Array, "trial time"]
    labels: Int[np.ndarray, " trial"]

    def __init__(self, inputs: ArrayLike, targets, weight=None, labels=None):
        inputs = checks.array("inputs", inputs, ("trial", "time", "input"))
        sizes = dict(zip(("trial", "time"), inputs.shape, strict=False))
        targets = checks.array("targets", targets, ("trial", "time", "output"), sizes=sizes)
        weight = np.ones(inputs.shape[:2]) if weight is None else weight
        weight = checks.array("weight", weight, ("trial", "time"), sizes=sizes)
        self.inputs, self.targets, self.weight = (floats(x) for x in (inputs, targets, weight))
        labels = np.zeros(len(inputs), int) if labels is None else labels
        self.labels = np.asarray(checks.array("labels", labels, ("trial",), sizes=sizes)).astype(int)

    @property
    def n_trials(self) -> int:
        """S."""
        return self.inputs.shape[0]


def clicks(
    key: PRNGKeyArray, n_trials: int = 256, *, steps: int = 80, rate: float = 40.0, decide: int = 20
) -> Task:
    """Perceptual decision: Poisson clicks left and right, and at the end the sign of their difference.

    The read-out should be +1 for more clicks right and -1 for more left in the last `decide` bins, where
    there are no clicks. Trials with equal numbers are not made. `labels` are the click differences, right
    minus left.

    **Arguments**

    - `steps`: bins of a trial; `rate`: clicks a second of both sides together.

    Source: Brunton, Botvinick & Brody (2013), Science 340, 95.

    >>> import jax.random as jr
    >>> task = clicks(jr.key(0), 10)
    >>> task.inputs.shape, task.targets.shape
    ((10, 80, 2), (10, 80, 1))
    """
    n_trials, steps = checks.count("n_trials", n_trials), checks.count("steps", steps, least=2)
    decide = checks.count("decide", decide)
    if decide >= steps:
        raise ValueError(f"decide: expected fewer bins than the trial's {steps}, got {decide}")
    rng = checks.generator(key)
    ratio = rng.choice([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], 4 * n_trials)
    right = 1 / (1 + np.exp(-ratio))
    rates = 0.01 * checks.positive("rate", rate) * np.stack([1 - right, right], axis=1)
    heard = rng.poisson(rates[:, None], (4 * n_trials, steps - decide, 2))
    difference = heard[..., 1].sum(axis=1) - heard[..., 0].sum(axis=1)
    kept = np.flatnonzero(difference)[:n_trials]
    inputs = np.zeros((len(kept), steps, 2))
    inputs[:, : steps - decide] = heard[kept]
    side = np.sign(difference[kept])
    return _task(inputs, np.tile(side[:, None, None], (1, steps, 1)), decide, difference[kept])


def delayed_match(
    key: PRNGKeyArray, n_trials: int = 256, *, pulse: int = 15, delay: int = 30, decide: int = 20
) -> Task:
    """Delayed match to sample: two pulses, each of one of two stimuli, a delay between, and at the end: the
    same or not?

    The read-out should be +1 where both were the same and -1 where not. `labels` are 2 * first + second, each
    0 or 1.

    >>> import jax.random as jr
    >>> delayed_match(jr.key(0), 10).inputs.shape
    (10, 90, 2)
    """
    n_trials = checks.count("n_trials", n_trials)
    pulse, delay, decide = (
        checks.count(*pair) for pair in (("pulse", pulse), ("delay", delay), ("decide", decide))
    )
    steps = 2 * pulse + delay + 10 + decide
    shown = np.asarray(jr.bernoulli(key, 0.5, (n_trials, 2))).astype(int)
    inputs = np.zeros((n_trials, steps, 2))
    every = np.arange(n_trials)
    for k, begin in enumerate((0, pulse + delay)):
        inputs[every[:, None], begin + np.arange(pulse)[None], shown[:, k][:, None]] = 1.0
    same = np.where(shown[:, 0] == shown[:, 1], 1.0, -1.0)
    return _task(inputs, np.tile(same[:, None, None], (1, steps, 1)), decide, 2 * shown[:, 0] + shown[:, 1])


def ring_memory(key: PRNGKeyArray, n_trials: int = 256, *, pulse: int = 15, delay: int = 65) -> Task:
    r"""Memory of an angle: a pulse $(\cos\theta,\sin\theta)$, and from there on the read-out should say the
    same.

    `labels` are the angles in whole degrees.

    >>> import jax.random as jr
    >>> ring_memory(jr.key(0), 10).targets.shape
    (10, 80, 2)
    """
    n_trials = checks.count("n_trials", n_trials)
    pulse, delay = checks.count("pulse", pulse), checks.count("delay", delay)
    angle = np.asarray(jr.randint(key, (n_trials,), 0, 360))
    place = np.stack([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], axis=1)
    inputs = np.zeros((n_trials, pulse + delay, 2))
    inputs[:, :pulse] = place[:, None]
    return _task(inputs, np.tile(place[:, None], (1, pulse + delay, 1)), delay, angle)


def _task(inputs, targets, decide: int, labels) -> Task:
    weight = np.zeros(inputs.shape[:2])
    weight[:, -decide:] = 1.0
    return Task(inputs, targets, weight, labels)
