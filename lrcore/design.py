r"""Which experiment next: candidates ranked by what they are expected to leave open of a prediction."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float

from . import checks
from .belief import Belief
from .checks import ArrayLike
from .connector import Connector
from .maxent import MaximumEntropy
from .perturb import Perturbation, fitted, rows

# Lines of a table that are printed.
_SHOWN = 7
# A prediction of which this share of the prior's variance is left is known, as far as numbers tell.
_KNOWN = 1e-12
# Of a row's variance before all data, what is rounding.
_ROUNDING = 1e-13


class Experiment(eqx.Module):
    r"""An experiment that could be done, made by `experiment`: it measures $y=\sum_ir_in_i+$ noise.

    - `name`: as it stands in tables. `cost`: in any unit.
    - `rows`: r (row, neuron), what each neuron's n weighs in the drift of each condition and state in turn.
    - `noise`: (rank, rank), covariance of the noise of one row, in the coordinates of the steps.
    """

    name: str = eqx.field(static=True)
    rows: Float[np.ndarray, "row neuron"]
    noise: Float[np.ndarray, "rank rank"]
    cost: float

    def __repr__(self) -> str:
        measured, neurons = self.rows.shape
        size = np.sqrt(np.trace(self.noise) / len(self.noise))
        return (
            f"Experiment {self.name!r}: {measured} drifts of {neurons} neurons, noise {size:.2g}, "
            f"cost {self.cost:g}"
        )


def experiment(
    name: str,
    model: MaximumEntropy | Connector,
    conditions: Perturbation | Sequence[Perturbation | Sequence[Perturbation]] | None,
    z: ArrayLike,
    u: ArrayLike | None = None,
    *,
    noise=None,
    trials=1,
    cost=1.0,
    labels: ArrayLike | None = None,
) -> Experiment:
    r"""An experiment on the neurons of a fit.

    **Arguments**

    - `name`: any, and no other experiment's.
    - `model`: a fit of `lr.maxent`, or a `Connector`: whose neurons.
    - `conditions`: `lr.perturb.silenced(...)`, `current(...)` or `clamped(...)`; or a list of conditions that
      are recorded one after another, such as the levels of a sweep. Of a condition that is a list itself, all
      act at once. None: nothing is done to the neurons, and the states are what is new.
    - `z`, `u`: states (state, rank) and inputs (state, input) that are visited in every condition.
    - `noise`: standard deviation of one coordinate of one measured drift, or a root (rank, rank) of its
      covariance; by default as the fit has measured it. `trials`: how often each drift is measured.
    - `cost`: of the whole experiment, in the unit of the budget. `labels`: (neuron,), for sets by labels.

    **Raises** `ValueError` for a noise or cost that is not positive, fewer trials than one, no conditions,
    and as `lr.perturb.rows` for sets without neurons and unknown labels.

    >>> import jax.random as jr
    >>> from lrcore import maxent, systems
    >>> from lrcore.perturb import current
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> fit = maxent.fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> experiment("sweep", fit, [current(-1.0), current(1.0)], systems.grid(3), noise=0.1, trials=4, cost=2)
    Experiment 'sweep': 18 drifts of 200 neurons, noise 0.05, cost 2
    """
    fit = fitted(model, "experiments are designed on what is recorded")
    cost, trials = checks.positive("cost", cost), checks.count("trials", trials)
    if conditions is None:
        conditions = [[]]
    elif isinstance(conditions, Perturbation):
        conditions = [conditions]
    if not len(conditions):
        raise ValueError("conditions: expected at least one, got none: None leaves the neurons as they are")
    parts = [rows(fit.embedding, one, z, u, activation=fit.activation, labels=labels) for one in conditions]
    if not parts[0].size:
        raise ValueError("z: expected at least one state that is visited, got none")
    return Experiment(str(name), np.concatenate(parts), _covariance(fit, noise) / trials, float(cost))


def _covariance(fit: MaximumEntropy, noise) -> Float[np.ndarray, "rank rank"]:
    if noise is None:
        root = np.linalg.inv(fit.evidence.gauge) * np.sqrt(
            fit.evidence.shares * np.mean(fit.evidence.noise**2)
        )
    elif np.ndim(noise) == 0:
        root = checks.positive("noise", noise) * np.eye(fit.steps.rank)
    else:
        root = checks.root("noise", noise, fit.steps.rank)
    found = root @ root.T
    if not (np.linalg.eigvalsh(found) > 0).all():
        raise ValueError("noise: expected a positive one in every coordinate, got a root that is singular")
    return found


class Ranking(eqx.Module):
    r"""Experiments and what they leave of a prediction's variance; made by `ranking` and `sequence`, prints
    as a table.

    - `experiments`: best first, or in the order in which they are done.
    - `left`: (experiment,), share of the variance that is expected to be left after each alone or, of a
      sequence, after it and those before it.
    - `before`: the variance at hand relative to that of the prior. `in_turn`: whether this is a sequence.
    """

    experiments: tuple[Experiment, ...]
    left: Float[np.ndarray, " experiment"]
    before: float
    in_turn: bool = eqx.field(static=True)

    @property
    def costs(self) -> Float[np.ndarray, " experiment"]:
        """What each costs."""
        return np.array([one.cost for one in self.experiments])

    @property
    def gains(self) -> Float[np.ndarray, " experiment"]:
        """Share of the variance at hand that each takes away, of a sequence beyond those before it."""
        return -np.diff(self.left, prepend=1.0) if self.in_turn else 1 - self.left

    def __repr__(self) -> str:
        names = [one.name for one in self.experiments[:_SHOWN]]
        wide = max(10, *map(len, names))
        word = "left so far" if self.in_turn else "left"
        lines = [
            f"variance of the prediction at hand: {self.before:.2g} of the prior's",
            f"{'experiment':{wide}}  {'cost':>6}  {word:>11}  {'gain':>6}  {'gain/cost':>9}",
        ]
        for name, cost, left, gain in zip(names, self.costs, self.left, self.gains, strict=False):
            lines.append(f"{name:{wide}}  {cost:6.4g}  {left:11.3f}  {gain:6.3f}  {gain / cost:9.3f}")
        more = len(self.experiments) - len(names)
        return "\n".join(lines + ([f"... and {more} more"] if more else []))


def ranking(belief: Belief, experiments: Sequence[Experiment], target: ArrayLike) -> Ranking:
    r"""Experiments by the expected reduction of a prediction's variance, largest first.

    With the covariance C of the weights n at hand, the rows T of the prediction, and an experiment's rows R
    and noise S, it is

    $$\mathrm{tr}\,TCR^\top(RCR^\top+S)^{-1}RCT^\top,$$

    in closed form, and the same whatever the experiment will show. Coordinates of n are those of
    `belief.gauge`, in which they are independent and alike: the ranking does not depend on the coordinates of
    the latents. Noise that is correlated between them counts by its variances.

    **Arguments**

    - `belief`: of `lr.belief.belief`, or `observed`. `experiments`: of `experiment`, under different names.
    - `target`: (row, neuron), what is to be predicted, such as `lr.perturb.rows` of a perturbation that will
      not be done, or the identity for all weights.

    What is expected is only as good as the belief. Its law and spread, which were measured once, are not
    measured again.

    **Raises** `ValueError` for no experiments, names that stand twice, and a target that is known already or
    is no prediction: rows of 0.

    Source: Bayesian experimental design, Chaloner & Verdinelli (1995), Statistical Science 10, 273.

    >>> import jax.random as jr
    >>> from lrcore import maxent, systems
    >>> from lrcore.belief import belief
    >>> from lrcore.perturb import rows, silenced
    >>> from lrcore.steps import steps
    >>> net, z = systems.ring().sample(jr.key(0), 200), systems.grid(5)
    >>> fit = maxent.fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> sets = {"side": lambda e: e[:, 0] < 0, "middle": lambda e: np.abs(e[:, 0]) < 0.7}
    >>> some = [experiment(name, fit, silenced(which), z, noise=0.01) for name, which in sets.items()]
    >>> target = rows(net.embedding, silenced(lambda e: e[:, 0] < -1), z)
    >>> ranking(belief(fit), some, target).experiments[0].name
    'side'
    """
    table, before = _table(belief, experiments, target)
    left = 1 - np.array([table.gain(k) for k in range(len(experiments))]) / table.variance
    order = np.argsort(left, kind="stable")
    return Ranking(tuple(experiments[k] for k in order), left[order], before, False)


def sequence(belief: Belief, experiments: Sequence[Experiment], target: ArrayLike, budget) -> Ranking:
    r"""Experiments to do one after another within a budget, each at most once: always the one with the
    largest gain per cost, given those before it, of those that can still be paid. Where one experiment alone
    would do more than all of these, that one.

    Nobody looks at data in between: what variances remain does not depend on them. It is no more than a
    greedy choice. Experiments that tell something only together are not found.

    **Arguments** as `ranking`; `budget`: in the unit of the costs.

    **Raises** as `ranking`; `ValueError` for a budget that pays for none.

    Source: Khuller, Moss & Naor (1999), Information Processing Letters 70, 39, for the one against the many.

    >>> import jax.random as jr
    >>> from lrcore import maxent, systems
    >>> from lrcore.belief import belief
    >>> from lrcore.perturb import current
    >>> from lrcore.steps import steps
    >>> net, z = systems.ring().sample(jr.key(0), 200), systems.grid(5)
    >>> fit = maxent.fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> some = [experiment(f"{level:g}", fit, current(level), z, noise=0.01) for level in (0.1, 1.0, 2.0)]
    >>> found = sequence(belief(fit), some, np.eye(200), budget=2)
    >>> len(found.experiments), bool(found.left[1] < found.left[0] < 1)
    (2, True)
    """
    budget = checks.positive("budget", budget)
    now, before = _table(belief, experiments, target)
    costs = np.array([one.cost for one in experiments])
    if costs.min() > budget:
        raise ValueError(
            f"budget: expected at least {costs.min():g}, the cost of the cheapest experiment, got {budget:g}"
        )
    # Costs that add up to the budget keep it, in spite of rounding.
    budget = budget * (1 + 1e-9)
    alone = {k: now.gain(k) for k in np.flatnonzero(costs <= budget).tolist()}
    whole, gains, chosen, left = now.variance, alone, [], []
    while gains:
        best = max(gains, key=lambda k: gains[k] / costs[k])
        now = now.after(best)
        chosen.append(best)
        left.append(now.variance)
        able = np.flatnonzero(costs <= budget - costs[chosen].sum()).tolist()
        gains = {k: now.gain(k) for k in able if k not in chosen}
    single = max(alone, key=alone.__getitem__)
    if whole - alone[single] < now.variance:
        chosen, left = [single], [whole - alone[single]]
    return Ranking(tuple(experiments[k] for k in chosen), np.array(left) / whole, before, True)


def observed(belief: Belief, experiment: Experiment, y: ArrayLike) -> Belief:
    """The belief once an experiment is done: `y` (row, rank), the mean over trials of the drifts that were
    measured, in the order of its rows and in the coordinates of the steps.

    Choose, perturb, infer again: `best = ranking(belief, some, target).experiments[0]`, its drifts `y` from
    the laboratory, `belief = observed(belief, best, y)`.

    **Raises** `ValueError` for drifts of another shape.

    >>> import jax.random as jr
    >>> from lrcore import maxent, systems
    >>> from lrcore.belief import belief
    >>> from lrcore.perturb import current, perturbed
    >>> from lrcore.steps import steps
    >>> net, z = systems.ring().sample(jr.key(0), 200), systems.grid(5)
    >>> fit = maxent.fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> push = experiment("push", fit, current(1.0), z, noise=0.01)
    >>> now = observed(belief(fit), push, perturbed(net, current(1.0)).drift(z))
    >>> bool(now.variance(push.rows).max() < 1e-4)
    True
    """
    rank = len(_believed(belief).gauge)
    sizes = {"row": len(_planned("experiment", experiment).rows), "rank": rank}
    y = np.asarray(checks.array("y", y, ("row", "rank"), sizes=sizes), float)
    noise = np.tile(_noise(belief, experiment), (len(y), 1))
    return belief.observing(experiment.rows, y @ belief.gauge.T, noise)


def _believed(belief) -> Belief:
    if not isinstance(belief, Belief):
        raise TypeError(
            f"belief: expected one of lr.belief.belief(fit) or lr.design.observed(...), got "
            f"{type(belief).__name__}"
        )
    return belief


def _planned(name: str, experiment) -> Experiment:
    if not isinstance(experiment, Experiment):
        raise TypeError(f"{name}: expected lr.design.experiment(...), got {type(experiment).__name__}")
    return experiment


def _noise(belief: Belief, experiment: Experiment) -> Float[np.ndarray, " rank"]:
    """Variance of the noise of one row, in the coordinates of the belief."""
    return np.diag(belief.gauge @ experiment.noise @ belief.gauge.T)


class _Table(eqx.Module):
    """Covariances (rank, row, row) between the rows of the target, which come first, and those of all
    experiments: nothing else of the belief matters to what experiments leave open. `prior`: variances before
    all data, against which what is rounding is told.
    """

    covariance: Float[np.ndarray, "rank row row"]
    noise: tuple[Float[np.ndarray, " rank"], ...]
    prior: Float[np.ndarray, " row"]
    parts: tuple[slice, ...] = eqx.field(static=True)

    @property
    def variance(self) -> float:
        """Of the target: the sum over its rows and coordinates."""
        own = self.parts[0]
        return float(np.einsum("rii->", self.covariance[:, own, own]))

    def gain(self, k: int) -> float:
        """By how much experiment k lowers the variance of the target."""
        own = self.parts[0]
        return float(sum((across[own] ** 2).sum() for across in self._told(k)))

    def after(self, k: int) -> "_Table":
        """Once experiment k is done."""
        left = [c - across @ across.T for c, across in zip(self.covariance, self._told(k), strict=True)]
        return _Table(np.stack(left), self.noise, self.prior, self.parts)

    def _told(self, k: int) -> list[Float[np.ndarray, "row direction"]]:
        """For each coordinate a root of what experiment k takes away of the covariances."""
        part, found = self.parts[k + 1], []
        for covariance, noise in zip(self.covariance, self.noise[k], strict=True):
            seen = covariance[part, part] + noise * np.eye(part.stop - part.start)
            # In units of each row's own size, so that no other experiment has a say in what is rounding.
            size = 1 / np.sqrt(self.prior[part] + noise)
            values, vectors = np.linalg.eigh(size[:, None] * seen * size)
            kept = values > _ROUNDING
            vectors = size[:, None] * vectors[:, kept]
            found.append(covariance[:, part] @ (vectors / np.sqrt(values[kept])))
        return found


def _table(belief: Belief, experiments: Sequence[Experiment], target) -> tuple[_Table, float]:
    """With the target's variance relative to that before all data."""
    n = len(_believed(belief).law)
    if isinstance(experiments, Experiment):
        raise TypeError("experiments: expected a list of them, got one Experiment: [experiment]")
    if not len(experiments):
        raise ValueError("experiments: expected at least one, got none")
    names = set()
    for one in experiments:
        _planned("experiments", one)
        if one.name in names:
            raise ValueError(f"experiments: expected different names, got {one.name!r} more than once")
        if one.rows.shape[1] != n:
            raise ValueError(
                f"experiments: expected ones on the {n} neurons of the belief, got {one.name!r} on "
                f"{one.rows.shape[1]}"
            )
        names.add(one.name)
    if isinstance(target, Perturbation | Experiment):
        raise TypeError(
            f"target: expected rows (row, neuron) of a prediction, got {type(target).__name__}: "
            "lr.perturb.rows(...) makes them"
        )
    target = np.asarray(checks.array("target", target, ("row", "neuron"), sizes={"neuron": n}), float)
    if not target.any():
        raise ValueError(f"target: expected a prediction, got {len(target)} rows of 0: no weight is in it")
    every = [target, *(one.rows for one in experiments)]
    ends, joined = np.cumsum([0, *map(len, every)]).tolist(), np.concatenate(every)
    noise = tuple(_noise(belief, one) for one in experiments)
    prior = np.diag(belief.before(joined))
    found = _Table(belief.after(joined)[1], noise, prior, tuple(map(slice, ends[:-1], ends[1:])))
    share = found.variance / (len(belief.gauge) * prior[: len(target)].sum())
    if share < _KNOWN:
        raise ValueError(
            f"target: expected a prediction that is open, got one known to {share:.0e} of its prior"
        )
    return found, share
