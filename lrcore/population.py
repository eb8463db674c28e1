"""p(e): the density of the neurons' embeddings, in the form that predicts left-out neurons best."""

import dataclasses
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from . import checks, optimize, tails, threads
from .checks import ArrayLike, float32, floats
from .flow import Flow, flow_matching_loss
from .module import Module
from .optimize import Fit
from .tails import Tails

KINDS = ("heavy", "flow", "mixture", "gaussian")
# Components of a mixture that are tried.
_MOST = 8
# What is added to variances, of which 1 is that of all neurons.
_LEAST = 1e-4
# Neurons that are added to those for which a Gaussian speaks beside flows. Without them far neurons, of which
# there are none among the left-out, cost the most.
_UNSEEN = 20
# Rows, repeated, in which flows read few neurons.
_ROWS = 8192


class Population(Module):
    r"""A density over the embeddings of neurons: flows, with heavy tails or without, a mixture of Gaussians,
    or one Gaussian.

    $$x=\mu+L(\mu_c+L_cy),\qquad c\sim\pi,\qquad y\sim\mathcal N(0,I)\ \text{or a flow}$$

    with $\mu$ and $LL^\top$ the mean and covariance of the neurons. A flow of few neurons is several times
    further from the truth than a Gaussian, most of all where there are none. The mean density of several,
    each trained without some of the neurons, is nearer, and beside them one Gaussian stands. Where tails are
    heavy, x are the neurons in coordinates in which tails are Gaussian, see `lr.tails.Tails`. Made by `fit`.

    - `kind`: "heavy", "flow", "mixture" or "gaussian". `scores`: log-density (nats) of a neuron that was left
      out, the mean over all neurons, of every kind that was tried, by its name.
    - `shift`, `root`: $\mu$ (dim,) and $L$ (dim, dim). `flow`: that of y for each component
      but the last, or None.
    - `weights`, `means`, `roots`: $\pi$ (component,), $\mu_c$ (component, dim), $L_c$ (component, dim, dim).
    - `tails`: the coordinates in which tails are Gaussian, or None.
    """

    shift: Float[Array, " dim"]
    root: Float[Array, "dim dim"]
    flow: tuple[Flow, ...] | None
    weights: Float[Array, " component"]
    means: Float[Array, "component dim"]
    roots: Float[Array, "component dim dim"]
    scores: dict[str, float]
    tails: Tails | None
    kind: str = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.shift.size

    def push(self, base: ArrayLike) -> Float[Array, "sample dim"]:
        """Samples from base points (sample, dim + 1): `dim` standard normal coordinates, and one that chooses
        a component of a mixture.
        """
        base = floats(checks.array("base", base, ("sample", "dim + 1"), sizes={"dim + 1": self.dim + 1}))
        y, which = _components(self.weights, base)
        if self.flow is not None:
            y = _pushed(self.flow, which, y)
        x = _placed(self.shift, self.root, self.means, self.roots, which, y)
        return x if self.tails is None else self.tails.forward(x)

    def log_prob(self, x: ArrayLike) -> Float[Array, " sample"]:
        """Log-density (nats) at (sample, dim)."""
        x = floats(checks.array("x", x, ("sample", "dim"), sizes={"dim": self.dim}))
        if self.tails is not None:
            x, slope = self.tails.inverse(x)
            return dataclasses.replace(self, tails=None).log_prob(x) + slope
        inverse = jnp.linalg.inv(self.root)
        y = jax.vmap(lambda x: inverse @ (x - self.shift))(x)
        volume = jnp.linalg.slogdet(self.root)[1]
        if self.flow is None:
            return _mixture(self.weights, self.means, self.roots, y) - volume
        few = len(self.flow)
        logs = [
            _of_flow(*part, y) for part in zip(self.flow, self.means[:few], self.roots[:few], strict=True)
        ]
        logs = jnp.stack([*logs, _mixture(jnp.ones(1), self.means[few:], self.roots[few:], y)])
        return logsumexp(logs + jnp.log(self.weights)[:, None], axis=0) - volume

    def __repr__(self) -> str:
        count = len(self.weights)
        flows = f"{count - 1} flows beside a Gaussian"
        what = {"mixture": f"mixture of {count} components", "flow": flows, "heavy": f"{flows}, heavy tails"}
        tried = ", ".join(f"{kind} {nats:.2f}" for kind, nats in self.scores.items())
        why = f"; nats of a left-out neuron: {tried}" if tried else ""
        return f"Population: {what.get(self.kind, self.kind)} in {self.dim} coordinates{why}"


@jax.jit
def _components(weights, base) -> tuple[Float[Array, "sample dim"], Int[Array, " sample"]]:
    """Of base points, the coordinates and the component."""
    beyond = jax.scipy.stats.norm.cdf(base[:, -1:]) > jnp.cumsum(weights)[None, :-1]
    return base[:, :-1], beyond.sum(axis=1)


@jax.jit
def _placed(shift, root, means, roots, which, y) -> Float[Array, "sample dim"]:
    y = means[which] + jnp.einsum("nij,nj->ni", roots[which], y)
    return jax.vmap(lambda y: shift + root @ y)(y)


@jax.jit
def _mixture(weights, means, roots, y) -> Float[Array, " sample"]:
    def one(y):
        def component(weight, mean, root):
            white = jax.scipy.linalg.solve_triangular(root, y - mean, lower=True)
            return jnp.log(weight) + jax.scipy.stats.norm.logpdf(white).sum() - jnp.log(jnp.diag(root)).sum()

        return logsumexp(jax.vmap(component)(weights, means, roots))

    return jax.vmap(one)(y)


def _of_flow(flow: Flow, mean, root, y) -> Float[Array, " sample"]:
    """Log-density at y (sample, dim) of mean + root x, with x from the flow."""
    white, volume = _whitened(mean, root, y)
    return flow.log_prob(white) - volume


@jax.jit
def _whitened(mean, root, y) -> tuple[Float[Array, "sample dim"], Float[Array, ""]]:
    white = jax.vmap(lambda y: jax.scipy.linalg.solve_triangular(root, y - mean, lower=True))(y)
    return white, jnp.log(jnp.diag(root)).sum()


def _pushed(flows: tuple[Flow, ...], which, y) -> Float[Array, "sample dim"]:
    """y (sample, dim) pushed through the flow of that number; beyond the last flow they stay."""
    if checks.is_traced(which) or checks.is_traced(y):
        return jnp.stack([*(flow.push(y) for flow in flows), y])[which, jnp.arange(len(y))]
    # Each point through its own flow alone.
    which, pushed = np.asarray(which), np.array(y)
    for number, flow in enumerate(flows):
        pushed[which == number] = flow.push(pushed[which == number])
    return jnp.asarray(pushed)


def fit(
    samples: ArrayLike,
    *,
    key: PRNGKeyArray,
    kind: str = "best",
    held_out: float = 0.2,
    updates: int = 3000,
    batch_size: int = 2048,
    learning_rate: float = 1e-2,
    width: int = 64,
    depth: int = 3,
    noise: float = 0.0,
    margin: float = 1e-3,
    **options: Any,
) -> tuple[Population, Fit | None]:
    r"""A density from the recorded neurons' embeddings.

    **Arguments**

    - `samples`: (neuron, dim), linearly independent columns in any unit.
    - `kind`: "gaussian"; "mixture", of as many components, at most eight, and with covariances of their own
      or a common one, as BIC asks for; "flow": the mean density of one flow a fold, each trained without the
      fold's neurons, beside one Gaussian with the weight that makes left-out neurons most likely; "heavy":
      the same in coordinates in which tails are Gaussian, see `lr.tails.fit`; or "best": of these the one
      under which a neuron that is left out is most likely, to a hundredth of a nat, and of equals the
      simplest. "heavy" is among these where a coordinate has fewer than 20 degrees of freedom, beyond two
      standard errors.
    - `held_out`: fraction of the neurons that a fold leaves out; 0.2 makes five folds. Each neuron is left
      out once. Gaussian and mixture are at last fitted to all neurons.
    - `updates`, `batch_size`, `learning_rate`, `margin`, `options`: see `lr.optimize.fit`. All flows are
      trained together, and divide the batch among them. `width`, `depth`: of their networks. `noise`:
      standard deviation of Gaussian noise that is added in training, where neurons have a covariance of I.

    **Returns** the density, and the record of the flows' training (None where none was trained).

    **Raises** `ValueError` for an unknown kind; for no coordinates, or as few neurons as coordinates; for
    coordinates beyond 1e30, or all within 1e-30; for such as do not vary or depend linearly on others; for
    neurons so few and so far from all others that they are artefacts; for flows of fewer neurons than ten or
    twice the coordinates, and heavy ones of fewer than 20; for options with which no flow can be trained,
    whatever the kind.

    **Warns** where so few neurons are given to choose by: the density is then one Gaussian.

    Source: ours; BIC: Schwarz (1978), Annals of Statistics 6, 461.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 2)) + np.array([4, 0]) * rng.integers(0, 2, (100, 1))
    >>> len(fit(x, key=jr.key(0), kind="mixture")[0].weights)
    2
    """
    x = np.asarray(checks.array("samples", samples, ("neuron", "dim")), float)
    kind = named("kind", kind)
    n, dim = x.shape
    held_out = checks.share("held_out", held_out)
    noise = checks.positive("noise", noise, zero=True)
    network = {"width": checks.count("width", width), "depth": checks.count("depth", depth)}
    options |= {
        "updates": updates,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "margin": margin,
    }
    optimize.checked(**options)
    _independent(x)
    together("samples", x)
    least = max(20 if kind == "heavy" else 10, 2 * dim)
    if n < least and kind in ("flow", "heavy"):
        raise ValueError(f"samples: expected at least {least} for a flow of {dim} coordinates, got {n}")
    if n < least and kind == "best":
        warnings.warn(
            f"samples: expected at least {least} neurons of {dim} coordinates to choose a density by those "
            f"left out, got {n}: p(e) is one Gaussian",
            stacklevel=2,
        )
        kind = "gaussian"
    fold_key, flow_key = (jr.fold_in(key, part) for part in range(2))
    folds = min(max(round(1 / held_out), 2), n)
    # In numpy, as jax would compile a permutation for every number of neurons.
    fold = checks.generator(fold_key).permutation(n) % folds
    best, record = None, None
    if kind != "heavy":
        best, record = _light(x, kind, fold, noise, network, flow_key, **options)
    adapted = tails.fit(x) if kind == "heavy" or (kind == "best" and n >= 20) else None
    if adapted is not None and (adapted.heavy or kind == "heavy"):
        y, slope = (np.asarray(part, float) for part in adapted.inverse(x))
        heavy, its_record = _light(y, "flow", fold, noise, network, flow_key, **options)
        # Five numbers of each coordinate were chosen by left-out neurons too: what that gains at most, by
        # Akaike's rule, is taken off.
        nats = float(heavy.scores["flow"] + slope.mean() - 5 * dim / n)
        scores = {"heavy": nats} if best is None else best.scores | {"heavy": nats}
        if best is None or nats > scores[best.kind] + 0.01:
            best, record = dataclasses.replace(heavy, tails=adapted, kind="heavy"), its_record
        best = dataclasses.replace(best, scores=scores)
    assert best is not None
    return (best if kind == "best" else dataclasses.replace(best, scores={})), record


@threads.one("sklearn.mixture")
def _light(x, kind: str, fold, noise: float, network: dict, key, **options: Any):
    """A density without heavy tails of the neurons (neuron, dim), with its scores, and its record."""
    n, folds = len(x), int(fold.max()) + 1
    shift, root = _white(x)
    y = np.linalg.solve(root, (x - shift).T).T
    one = _model(y, 1, "full")
    chosen = _likely(y, one) if kind in ("best", "mixture") else one
    flow, means, roots, share, record, scores = None, [], [], 1.0, None, {}
    if kind in ("best", "flow"):
        (flow, means, roots), record = _flows(y, fold, noise, network, key, **options)
        logs = {name: np.empty(n) for name in ("gaussian", "mixture", "flow")}
        for number, part in enumerate(zip(flow, means, roots, strict=True)):
            seen, new = y[fold != number], y[fold == number]
            single = _model(seen, 1, "full")
            several = single if chosen is one else _model(seen, chosen.n_components, chosen.covariance_type)
            logs["gaussian"][fold == number] = single.score_samples(new)
            logs["mixture"][fold == number] = several.score_samples(new)
            logs["flow"][fold == number] = _of_flow(*part, float32(new))
        share = _share(logs["flow"], logs["gaussian"])
        both = logs["flow"] + np.log1p(-share), logs["gaussian"] + np.log(share)
        logs["flow"] = np.logaddexp(*both)
        volume = np.log(np.diag(root)).sum()
        scores = {name: float(log.mean() - volume) for name, log in logs.items()}
        if kind == "best":
            # Of those within a hundredth of a nat the simplest.
            kind = max(logs, key=lambda name: round(float(logs[name].mean()), 2))
    mixture = _gaussians(chosen if kind == "mixture" else one)
    if kind == "flow":
        parts = (np.full(folds, (1 - share) / folds), means, roots), (share * mixture[0], *mixture[1:])
        mixture = map(np.concatenate, zip(*parts, strict=True))
    else:
        flow, kind = None, "gaussian" if len(mixture[0]) == 1 else "mixture"
    shift, root, *mixture = map(float32, (shift, root, *mixture))
    return Population(shift, root, flow, *mixture, scores, None, kind), record


def named(name: str, kind: str) -> str:
    """The kind of density that a function was asked for by its argument `name`; others are refused."""
    if kind not in ("best", *KINDS):
        raise ValueError(f"{name}: expected 'best', 'heavy', 'flow', 'mixture' or 'gaussian', got {kind!r}")
    return kind


def together(name: str, x: np.ndarray) -> None:
    r"""Refuse rows of (neuron, dim) that are far from all others, where nothing in the others points there.

    Of sorted distances $r_1>r_2>\dots$ from the median of a column, the first k are refused where
    $r_k/r_{k+1}$ exceeds $r_{k+1}/\operatorname{median}(r)$ by a factor of 5, and more of few neurons: heavy
    tails reach far as well, but not at one bound. The farthest one in fifty, and at least two, are looked at,
    in columns in which six or more differ from the median. A second kind of neuron that is so far away, and
    so rare that it is among these, is refused as well: one column does not tell it from an artefact.

    >>> together("samples", np.append(np.random.default_rng(0).normal(size=200), 1e4)[:, None])
    Traceback (most recent call last):
    ValueError: samples: expected neurons of one scale, got 10000 in column 0 of row 200, while ...
    """
    for column, values in enumerate(x.T):
        middle = np.median(values)
        away = np.abs(values - middle)
        # Where most are equal, the others have a scale of their own.
        gaps = np.sort(away[away > 0])[::-1]
        if len(gaps) < 6:
            continue
        most = max(len(gaps) // 50, 2)
        alone = gaps[:most] * np.median(gaps) > (5 + 1000 / len(gaps)) * gaps[1 : most + 1] ** 2
        if alone.any():
            count = int(np.flatnonzero(alone)[-1]) + 1
            rows = np.argsort(-away)[:count]
            those = "that neuron, or mend its fit" if count == 1 else "those neurons, or mend their fits"
            raise ValueError(
                f"{name}: expected neurons of one scale, got {values[rows[0]]:g} in column {column} of row "
                f"{', '.join(map(str, rows))}, while all others are within {gaps[count]:g} of {middle:g}: "
                f"drop {those}; of a second kind of neuron more are needed"
            )


def _independent(x) -> None:
    """Refuse coordinates that depend linearly on others, too few neurons to tell, and units too large or too
    small for float32.
    """
    n, dim = x.shape
    if not dim:
        raise ValueError(
            f"samples: expected at least one coordinate, got shape {x.shape}: check what was selected"
        )
    if n <= dim:
        raise ValueError(
            f"samples: expected more neurons than coordinates, at least {dim + 1} of {dim}, got {n}: give "
            "more neurons, or fewer coordinates"
        )
    largest = np.abs(x).max(axis=0)
    wrong = (largest > 1e30) | ((largest > 0) & (largest < 1e-30))
    if wrong.any():
        column = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"samples: expected coordinates between 1e-30 and 1e30 in size, which float32 can hold, got at "
            f"most {largest[column]:.3g} in column {column}: take another unit"
        )
    shift, spread = x.mean(axis=0), x.std(axis=0)
    scaled = (x - shift) / np.where(spread > 0, spread, 1) / np.sqrt(n)
    # The rounding of float32 hides a dependence.
    blur = 1e-7 * np.max(np.abs(x) / np.where(spread > 0, spread, 1), initial=0)
    rank = np.linalg.matrix_rank(scaled, tol=1e-6 + blur)
    if rank < dim:
        raise ValueError(
            f"samples: expected linearly independent coordinates, got {dim} of rank {rank} among "
            f"{n} neurons: drop the dependent ones, which have no density"
        )


def _white(x, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and a root of the covariance, with `least` added to variances."""
    covariance = np.cov(x.T).reshape(2 * x.shape[1:]) + least * np.eye(x.shape[1])
    return x.mean(axis=0), np.linalg.cholesky(covariance)


def _share(flow, gaussian) -> float:
    """The weight of a Gaussian beside flows under which left-out neurons are most likely, by their
    log-densities (neuron,). Where flows are wrong there are no neurons to tell: some more are the Gaussian's.
    """
    from scipy.special import expit, logit

    share = 0.5
    for _ in range(100):
        its = expit(gaussian - flow + logit(share)).sum()
        share = (its + _UNSEEN) / (len(flow) + _UNSEEN)
    return min(share, 1 - 1e-6)


def _likely(y, one):
    """The mixture with the least BIC, of `one` component and of more, with covariances of either form."""
    best = (np.inf, 0)
    for form in ("full", "tied"):
        found = []
        for count in range(1, _MOST + 1):
            # Each component needs neurons of its own.
            if count > 1 and len(y) < 5 * count * (y.shape[1] + 1):
                break
            model = one if (count, form) == (1, "full") else _model(y, count, form)
            found.append((model.bic(y), count, form, model))
            # More components that do not help are seldom followed by some that do.
            if count - min(found)[1] == 3:
                break
        best = min(best, *found)
    return best[-1]


def _model(y, count: int, form: str):
    from sklearn.mixture import GaussianMixture

    starts = 3 if count > 1 else 1
    model = GaussianMixture(count, covariance_type=form, n_init=starts, reg_covar=_LEAST, random_state=0)
    return model.fit(y)


def _gaussians(model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and roots of a mixture."""
    count, dim = model.means_.shape
    roots = np.broadcast_to(np.linalg.cholesky(model.covariances_), (count, dim, dim))
    return model.weights_, model.means_, roots


def _flows(y, fold, noise: float, network: dict, key, *, batch_size: int, **options: Any):
    """A flow for each fold, trained on the others, and the means and roots that make these white for it; and
    the record of the training.
    """
    folds, dim = int(fold.max()) + 1, y.shape[1]
    # Within a fold a coordinate may be constant.
    white = [_white(y[fold != number], _LEAST) for number in range(folds)]
    own = [np.linalg.solve(root, (y - mean).T).T for mean, root in white]
    seen = [part[fold != number] for number, part in enumerate(own)]
    new = [part[fold == number] for number, part in enumerate(own)]

    def table(parts, rows):
        x1 = float32(np.stack([np.resize(part, (rows, dim)) for part in parts], axis=1))
        return x1, float32(np.zeros((rows, folds, 0))), float32(np.full(x1.shape, noise))

    # Of few neurons a table of one size, whatever their number: what is compiled for it serves again.
    rows = max(map(len, seen))
    rows = _ROWS if 10 * rows <= _ROWS else rows
    network_key, train_key = (jr.fold_in(key, part) for part in range(2))
    flows = [Flow(dim, **network, key=jr.fold_in(network_key, number)) for number in range(folds)]
    record = optimize.fit(
        jax.tree.map(_stacked, *(flow.network for flow in flows)),
        _flows_loss,
        table(seen, rows),
        key=train_key,
        validation=table(new, 1024),
        batch_size=max(batch_size // folds, 1),
        **options,
    )
    arrays, others = eqx.partition(record.model, eqx.is_array)
    arrays = jax.tree.map(np.asarray, arrays)
    networks = [
        eqx.combine(jax.tree.map(lambda leaf, i=i: floats(leaf[i]), arrays), others) for i in range(folds)
    ]
    record = eqx.tree_at(lambda record: record.model, record, networks)
    flows = tuple(eqx.tree_at(lambda flow: flow.network, *pair) for pair in zip(flows, networks, strict=True))
    means, roots = (np.stack(part).astype(np.float32) for part in zip(*white, strict=True))
    return (flows, means, roots), record


def _stacked(*leaves):
    # In numpy, and below: jax would compile each stack and each cut.
    return floats(np.stack(leaves)) if eqx.is_array(leaves[0]) else leaves[0]


def _flows_loss(networks, batch: tuple, key: PRNGKeyArray) -> Float[Array, ""]:
    """The mean flow-matching loss of networks (flow, ...) on their samples, whose second axis is the flow."""
    keys = jr.split(key, batch[0].shape[1])
    losses = eqx.filter_vmap(flow_matching_loss, in_axes=(eqx.if_array(0), 1, 0))(networks, batch, keys)
    return losses.mean()
