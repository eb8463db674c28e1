"""Continuous normalizing flows, trained by flow matching."""

import warnings
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks, optimize
from .checks import ArrayLike, floats
from .mlp import mlp
from .module import Module

# Waves of time that the velocity reads besides time itself.
_WAVES = 2
# Samples whose differential equations are solved at once: of few, and of many.
_BLOCKS = 256, 1024
# Standard deviations beyond which samples in training, and conditions, count as that far. No smooth velocity
# reaches further, and a few such squares would outweigh all others.
_REACH = 100


class Flow(Module):
    r"""A density on R^D, conditional or not, as the image of a Gaussian under an ordinary differential
    equation.

    $$\dot x_t = v_\theta(x_t, t, c),\qquad x_0\sim\mathcal N(0, I),\qquad x_1\sim p_\theta(\cdot\mid c)$$
    $$\log p_\theta(x_1\mid c)
      = \log\mathcal N(x_0; 0, I) - \int_0^1 \nabla\!\cdot v_\theta(x_t, t, c)\,\mathrm dt$$

    Data and conditions are standardised inside; all public methods speak in the units of the data. Build one
    with `Flow.fit`, or untrained with `Flow(dim, condition_dim, key=key)`.

    Source: Chen et al. (2018), arXiv:1806.07366 (densities); Lipman et al. (2023), arXiv:2210.02747
    (training).

    >>> import jax.random as jr
    >>> flow = Flow(2, key=jr.key(0))
    >>> flow.sample(jr.key(1), 5).shape, flow.log_prob(jr.normal(jr.key(2), (5, 2))).shape
    ((5, 2), (5,))
    """

    network: eqx.nn.MLP
    shift: Float[Array, " dim"]
    scale: Float[Array, " dim"]
    condition_shift: Float[Array, " condition"]
    condition_scale: Float[Array, " condition"]

    def __init__(
        self, dim: int, condition_dim: int = 0, *, width: int = 64, depth: int = 3, key: PRNGKeyArray
    ):
        dim, condition_dim = checks.count("dim", dim), checks.count("condition_dim", condition_dim, least=0)
        width, depth = checks.count("width", width), checks.count("depth", depth)
        self.network = mlp(dim + condition_dim + 1 + 2 * _WAVES, dim, width, depth, key)
        self.shift, self.scale = floats(np.zeros(dim)), floats(np.ones(dim))
        self.condition_shift, self.condition_scale = (
            floats(np.zeros(condition_dim)),
            floats(np.ones(condition_dim)),
        )

    def __repr__(self) -> str:
        given = f" given {self.condition_dim}" if self.condition_dim else ""
        layers, width = self.network.depth, self.network.width_size
        return f"Flow: a density of {self.dim} coordinates{given}; velocity of {layers} x {width} units"

    @property
    def dim(self) -> int:
        """D."""
        return self.shift.size

    @property
    def condition_dim(self) -> int:
        """Number of coordinates of the condition; 0 for an unconditional flow."""
        return self.condition_shift.size

    def velocity(self, x: Array, t: Array, c: Array) -> Array:
        """v(x, t, c) for one sample, in standardised coordinates."""
        return _velocity(self.network, x, t, c)

    def sample(
        self, key: PRNGKeyArray, n: int | None = None, *, condition: ArrayLike | None = None
    ) -> Float[Array, "sample dim"]:
        """Draw `n` samples, or one for each row of `condition` (sample, condition)."""
        if condition is None:
            n = checks.count("n", n)
        c = self._condition(condition, n)
        return self.push(jr.normal(key, (len(c), self.dim)), condition=condition)

    def push(self, x0: ArrayLike, *, condition: ArrayLike | None = None) -> Float[Array, "sample dim"]:
        """The flow's map from base points `x0` (sample, dim) to samples."""
        x0 = floats(checks.array("x0", x0, ("sample", "dim"), sizes={"dim": self.dim}))
        return _in_blocks(_push, self, x0, self._condition(condition, len(x0)))

    def mean(self, condition: ArrayLike) -> Float[Array, "sample dim"]:
        r"""$\mathbb E[x\mid c]$ for each row of `condition`, by a cubature of $2D$ base points at distance
        $\sqrt D$.

        Exact when the map is a polynomial of degree 3 in $x_0$, as it is, in particular, for a Gaussian.
        """
        c = self._condition(condition, None)
        base = np.sqrt(self.dim) * jnp.concatenate([jnp.eye(self.dim), -jnp.eye(self.dim)])
        x0, c = jnp.tile(base, (len(c), 1)), jnp.repeat(c, len(base), axis=0)
        return _in_blocks(_push, self, x0, c).reshape(-1, *base.shape).mean(axis=1)

    def log_prob(self, x: ArrayLike, *, condition: ArrayLike | None = None) -> Float[Array, " sample"]:
        """Log-density in nats, with the exact divergence; differentiable in the parameters, `x` and
        `condition`.
        """
        x = floats(checks.array("x", x, ("sample", "dim"), sizes={"dim": self.dim}))
        return _in_blocks(_log_prob, self, x, self._condition(condition, len(x)))

    def _condition(self, condition, n) -> Float[Array, "sample condition"]:
        """The condition in standardised coordinates, one row a sample; an unconditional flow has rows of
        width 0.
        """
        if self.condition_dim == 0:
            if condition is not None:
                raise ValueError("condition: expected none for an unconditional flow")
            return floats(np.zeros((n, 0)))
        if condition is None:
            raise ValueError(
                f"condition: expected (sample, {self.condition_dim}) for a conditional flow, got None"
            )
        sizes = {"condition": self.condition_dim} | ({} if n is None else {"sample": n})
        condition = floats(checks.array("condition", condition, ("sample", "condition"), sizes=sizes))
        return _standardised(condition, self.condition_shift, self.condition_scale)

    @classmethod
    def fit(
        cls,
        samples: ArrayLike,
        condition: ArrayLike | None = None,
        *,
        key: PRNGKeyArray,
        updates: int = 3000,
        batch_size: int = 2048,
        learning_rate: float = 1e-2,
        width: int = 64,
        depth: int = 3,
        held_out: float = 0.05,
        noise: float = 0.0,
        **options,
    ) -> tuple["Flow", optimize.Fit]:
        r"""Train a flow on samples by conditional optimal-transport flow matching.

        $$\min_\theta\ \mathbb E\,\big\|v_\theta(x_t,t,c)-(x_1-x_0)\big\|^2,\qquad x_t=(1-t)x_0+t x_1$$

        **Arguments**

        - `samples`: (sample, dim); `condition`: (sample, condition) or None.
        - `held_out`: fraction of the samples on which the best parameters are chosen.
        - `noise`: standard deviation of Gaussian noise that is drawn anew and added to every sample of every
          batch: the flow learns the samples' density smoothed by it.
        - `updates`, `batch_size`, `learning_rate`, `options`: see `optimize.fit`.

        **Returns** the flow and the record of its training.

        Values that are far from all others do not set the unit in which the flow works, and those beyond 100
        standard deviations count as that far; where this matters, a warning names the farthest.

        **Raises** `ValueError` for fewer than ten samples; for conditions that do not vary; without noise,
        for coordinates that do not vary or depend linearly on others (they have no density).

        Source: Lipman et al. (2023), arXiv:2210.02747, equation 23 with no minimal width.

        >>> import jax.random as jr
        >>> x = 3 + jr.normal(jr.key(0), (500, 1))
        >>> flow, record = Flow.fit(x, key=jr.key(1), updates=100, width=16, progress=False)
        >>> record.stopped
        'finished'
        """
        samples = floats(checks.array("samples", samples, ("sample", "dim")))
        # Once more: what float64 holds may be too large for float32.
        checks.finite("samples", samples)
        n, dim = samples.shape
        if n < 10:
            raise ValueError(f"samples: expected at least 10, got {n}")
        noise = checks.positive("noise", noise, zero=True)
        held_out = checks.share("held_out", held_out)
        condition_dim = 0
        if condition is not None:
            condition = floats(
                checks.array("condition", condition, ("sample", "condition"), sizes={"sample": n})
            )
            checks.finite("condition", condition)
            condition_dim = condition.shape[1]
        network_key, split_key, train_key = (jr.fold_in(key, part) for part in range(3))
        flow = cls(dim, condition_dim, width=width, depth=depth, key=network_key)
        flow = eqx.tree_at(
            lambda f: (f.shift, f.scale, f.condition_shift, f.condition_scale),
            flow,
            (*_standard("samples", samples, noise), *_standard("condition", condition)),
        )
        # The loss is noisy and its minimum flat: a choice by smaller differences stops too early.
        options.setdefault("margin", 1e-3)
        cut = max(int(round(held_out * n)), 1)
        data, validation = _parts(flow, samples, condition, noise, split_key, cut)
        # Only the velocity is trained; the standardisation stays as measured.
        fixed = eqx.tree_at(lambda f: f.network, flow, None)
        record = optimize.fit(
            flow.network,
            flow_matching_loss,
            data,
            key=train_key,
            updates=updates,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation=validation,
            **options,
        )
        flow = eqx.tree_at(lambda f: f.network, fixed, record.model, is_leaf=lambda leaf: leaf is None)
        return flow, record


def _velocity(network, x: Array, t: Array, c: Array) -> Array:
    return network(jnp.concatenate([x, c, _time_features(t)]))


def _time_features(t) -> Float[Array, " feature"]:
    """Time and its first waves: with time alone, the same small network fits a density half as well."""
    t = floats(t)
    waves = jnp.pi * jnp.arange(1, _WAVES + 1) * t
    return jnp.concatenate([t[None], jnp.cos(waves), jnp.sin(waves)])


def _standard(name: str, x, noise: float = 0.0) -> tuple[Array, Array]:
    """Centre and scale of each column, which a few far values do not set; they are named in a warning."""
    if x is None:
        return jnp.zeros(0), jnp.ones(0)
    values = np.asarray(x, np.float64)
    # Noise gives a density to anything.
    if not noise:
        checks.varying(name, values)
    shift, scale = values.mean(axis=0), np.hypot(values.std(axis=0), noise)
    inside = np.ones(len(values), bool)
    away = np.abs(values - np.median(values, axis=0))
    for column in np.flatnonzero(away.any(axis=0)):
        # Eleven standard deviations of a Gaussian; 0 is left out, as sparse coordinates are mostly that.
        gap = away[:, column]
        far = gap > 16 * np.median(gap[gap > 0])
        near = values[~far, column]
        spread, worst = np.hypot(near.std(), noise), int(gap.argmax())
        # The more there are, the more they must matter: a cluster of its own is no artefact.
        if scale[column] > (2 + 400 * far.mean()) * spread > 0:
            shift[column], scale[column] = near.mean(), spread
            inside &= ~far
            warnings.warn(
                f"{name}: expected values of one scale in column {column}, got {far.sum()} far from all "
                f"others, the farthest {values[worst, column]:g} in row {worst}: they do not set the scale, "
                f"and count as at most {_REACH} standard deviations away; remove artefacts, transform tails",
                stacklevel=3,
            )
    if name == "samples" and not noise:
        _independent(values[inside], shift, scale)
    return floats(shift.astype(x.dtype)), floats(scale.astype(x.dtype))


@jax.jit
def _standardised(x, shift, scale) -> Float[Array, "sample dim"]:
    return jax.vmap(lambda x: jnp.clip((x - shift) / scale, -_REACH, _REACH))(x)


def _independent(values, shift, scale) -> None:
    """Refuse a column that is a linear combination of those before it, but for rounding in float32."""
    n, dim = values.shape
    if n <= dim:
        raise ValueError(f"samples: expected more samples than coordinates, got {n} of {dim}: drop some")
    scaled = (values - shift) / scale
    triangle = np.asarray(np.linalg.qr((scaled - scaled.mean(axis=0)) / np.sqrt(n), mode="r"))
    rounding = 1e-7 * np.abs(values).max(axis=0) / scale
    for column in range(1, dim):
        weights = np.linalg.solve(triangle[:column, :column], triangle[:column, column])
        blur = np.hypot(rounding[column], np.linalg.norm(weights * rounding[:column]))
        if abs(triangle[column, column]) <= 1e-5 + blur:
            others = np.flatnonzero(np.abs(weights) > 1e-3).tolist()
            raise ValueError(
                f"samples: expected linearly independent coordinates, got {column} as a combination of "
                f"{others}, which has no density: drop it"
            )


def _parts(flow: Flow, samples, condition, noise: float, key, cut: int) -> tuple[tuple, tuple]:
    """Standardised (samples, conditions, noise) in random order: for training, and the first `cut` for
    validation.
    """
    # In numpy: jax would compile a permutation for every number of samples.
    order = checks.generator(key).permutation(len(samples))
    samples = _standardised(samples, flow.shift, flow.scale)
    condition = flow._condition(condition, len(samples))
    blur = np.broadcast_to(noise / np.asarray(flow.scale), samples.shape).astype(samples.dtype)
    data = [np.asarray(part)[order] for part in (samples, condition, blur)]
    # A larger validation set costs little and makes the choice of the best parameters less noisy.
    repeats = max(1, 4096 // cut)
    training, validation = (part[cut:] for part in data), (np.tile(part[:cut], (repeats, 1)) for part in data)
    return tuple(map(floats, training)), tuple(map(floats, validation))


def flow_matching_loss(network: eqx.nn.MLP, batch: tuple, key: PRNGKeyArray) -> Float[Array, ""]:
    r"""$\mathbb E\,\|v_\theta(x_t,t,c)-(x_1-x_0)\|^2$ with $x_t=(1-t)x_0+tx_1$, in standardised coordinates.

    - `network`: that of the velocity. `batch`: $x_1$ (sample, dim), $c$ (sample, condition), and the standard
      deviation (sample, dim) of noise that is added to $x_1$.

    Source: Lipman et al. (2023), arXiv:2210.02747, equation 23 with no minimal width.

    >>> flow = Flow(2, key=jr.key(0))
    >>> batch = (jnp.zeros((9, 2)), jnp.zeros((9, 0)), jnp.zeros((9, 2)))
    >>> float(flow_matching_loss(flow.network, batch, jr.key(1))) > 0
    True
    """
    x1, c, noise = batch
    noise_key, time_key = jr.split(key)
    x0, blur = jr.normal(noise_key, (2, *x1.shape))
    x1 = x1 + noise * blur
    # Stratified times: one in each of as many equal parts of [0, 1] as there are samples.
    t = (jnp.arange(len(x1)) + jr.uniform(time_key, (len(x1),))) / len(x1)

    def one(x0, x1, t, c):
        return jnp.sum((_velocity(network, (1 - t) * x0 + t * x1, t, c) - (x1 - x0)) ** 2)

    return jax.vmap(one)(x0, x1, t, c).mean()


def _solve(vector_field: Callable, y, t0: float, t1: float, tolerance: float):
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field),
        diffrax.Tsit5(),
        t0,
        t1,
        (t1 - t0) / 20,
        y,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        # An error raised from within would keep the compiled program out of jax's cache on disk.
        throw=False,
    )
    solved = solution.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda leaf: jnp.where(solved, leaf[-1], jnp.nan), solution.ys)


def _in_blocks(
    solve: Callable, flow: Flow, x: Float[Array, "sample dim"], c: Float[Array, "sample condition"]
):
    """`solve(flow, x, c)` block by block of two sizes, so that it is compiled no more than twice for any
    number of samples.
    """
    if any(checks.is_traced(leaf) for leaf in jax.tree.leaves((flow, x, c))):
        return solve(flow, x, c)
    n = len(x)
    if not n:
        return solve(flow, x, c)
    # In numpy: what jax cuts and joins, it compiles for every n.
    size = _BLOCKS[n > _BLOCKS[0]]
    xs, cs = (np.pad(np.asarray(part), ((0, -n % size), (0, 0)), mode="edge") for part in (x, c))
    blocks = [solve(flow, xs[i : i + size], cs[i : i + size]) for i in range(0, len(xs), size)]
    found = np.concatenate([np.asarray(block) for block in blocks])[:n]
    lost = int(np.isnan(found).reshape(n, -1).any(axis=1).sum())
    if lost:
        raise FloatingPointError(
            f"flow: expected its differential equation to be solvable, got no solution for {lost} of {n} "
            "samples: were the parameters trained to the end, are the samples within the data's range?"
        )
    return floats(found)


@eqx.filter_jit
def _push(flow: Flow, x0, c):
    def one(x0, c):
        x1 = _solve(lambda t, x, _: flow.velocity(x, t, c), x0, 0.0, 1.0, 1e-4)
        return flow.shift + flow.scale * x1

    return jax.vmap(one)(x0, c)


@eqx.filter_jit
def _log_prob(flow: Flow, x, c):
    def one(x, c):
        def field(t, state, _):
            velocity = lambda x: flow.velocity(x, t, c)  # noqa: E731
            return velocity(state[0]), jnp.trace(jax.jacfwd(velocity)(state[0]))

        x1 = (x - flow.shift) / flow.scale
        x0, divergence = _solve(field, (x1, jnp.zeros(())), 1.0, 0.0, 1e-4)
        # Integrated backwards in time, the divergence already carries its minus sign.
        return jax.scipy.stats.norm.logpdf(x0).sum() + divergence - jnp.log(flow.scale).sum()

    return jax.vmap(one)(x, c)
