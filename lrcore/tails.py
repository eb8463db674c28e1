"""Tails of weights: how heavy they are, and coordinates in which they are Gaussian."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, gammaln, ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from . import checks
from .checks import ArrayLike, float32, floats
from .distributions import GaussianMixture
from .module import Module
from .network import LowRankNetwork, states

# 1 / degrees of the lightest tail, for which a Gaussian's stands, as few samples tell the two apart, and of
# the heaviest.
_LIGHT, _HEAVY = 1 / 30, 2.0
# Below this, at 20 degrees of freedom and more, a Gaussian says as much.
_MATTERS = 0.05
# Samples that are carried over at once.
_BLOCK = 1024


class TailIndex(NamedTuple):
    r"""The tail index $\nu$, with $P(|x|>r)\sim r^{-\nu}$, and its interval: arrays of one shape."""

    index: np.ndarray
    low: np.ndarray
    high: np.ndarray


def tail_index(x: ArrayLike, *, share: float = 0.05) -> TailIndex:
    r"""Hill's estimate of the tail index of each column, with a 95 % interval.

    $$\hat\nu^{-1} = \frac1k\sum_{i\le k}\log\frac{r_{(i)}}{r_{(k+1)}},\qquad
      k\,\nu/\hat\nu\sim\mathrm{Gamma}(k, 1)$$

    with $r_{(1)}\ge r_{(2)}\ge\dots$ the distances from the column's median, and k a share of them.

    **Arguments**

    - `x`: (sample, dim). `share`: of the samples that count as tail.

    The interval is exact where the tail is a power law from $r_{(k+1)}$ on. It knows nothing of the bias
    where it is not yet: $-13$ % for Student's t of three degrees and a share of .05. A Gaussian has no index
    and gets a large one, which grows as the share falls.

    **Returns** arrays (dim,).

    **Raises** `ValueError` for a share of fewer than ten samples, or of all.

    Source: Hill (1975), Annals of Statistics 3, 1163.

    >>> found = tail_index(np.random.default_rng(0).standard_t(3, (20_000, 1)), share=0.01)
    >>> bool(found.low[0] < 3 < found.high[0])
    True
    """
    x = np.asarray(checks.array("x", x, ("sample", "dim")), float)
    share = checks.share("share", share)
    k = int(share * len(x))
    if k < 10:
        raise ValueError(
            f"share: expected at least ten samples in the tail, got {k} of {len(x)}: give more samples, or a "
            "larger share"
        )
    from scipy.special import gammaincinv

    r = np.sort(np.abs(x - np.median(x, axis=0)), axis=0)[::-1][: k + 1]
    index = 1 / np.log(r[:k] / r[k]).mean(axis=0)
    low, high = (index * gammaincinv(k, p) / k for p in (0.025, 0.975))
    return TailIndex(index, low, high)


class Tails(Module):
    r"""Coordinates y in which heavy tails are Gaussian: those of Student's t, with degrees for each side.

    $$x = c + s_\pm\,F_{\nu_\pm}^{-1}\big(\Phi(y)\big)$$

    with $F_\nu$ the distribution function of Student's t, c the median, and + or - the side that x is on. A
    standard Gaussian y is thus a Student base. A density of y, whatever it is, becomes one of x whose tail
    index is $\nu/a^2$ where y has a Gaussian tail of standard deviation a. Made by `fit`.

    - `centre`: c (dim,). `scale`: $s_-$ and $s_+$ (2, dim). `shape`: $1/\nu_-$ and $1/\nu_+$ (2, dim), and
      `error`: their standard errors.

    Source: Jaini et al. (2020), arXiv:1907.04481 (a base with tails); Laszkiewicz et al. (2022),
    arXiv:2206.10311 (degrees of each coordinate, estimated first).
    """

    centre: Float[Array, " dim"]
    scale: Float[Array, "2 dim"]
    shape: Float[Array, "2 dim"]
    error: Float[Array, "2 dim"]

    def __repr__(self) -> str:
        low, high = (", ".join(f"{nu:.1f}" for nu in side) for side in np.asarray(self.degrees))
        return f"Tails: Student's t, degrees {low} below and {high} above the medians"

    @property
    def degrees(self) -> Float[Array, "2 dim"]:
        r"""$\nu$ of each side and coordinate; 30 stands for any larger number, and for a Gaussian."""
        return 1 / self.shape

    @property
    def heavy(self) -> bool:
        """Whether some coordinate has fewer than 20 degrees, beyond two standard errors."""
        return bool((np.asarray(self.shape) - 2 * np.asarray(self.error) > _MATTERS).any())

    def index(self) -> TailIndex:
        r"""$\nu$ of each side and coordinate (2, dim), with the 95 % interval of $1/\nu$ turned over."""
        shape, error = np.asarray(self.shape, float), 1.96 * np.asarray(self.error, float)
        with np.errstate(divide="ignore"):
            return TailIndex(1 / shape, 1 / (shape + error), 1 / np.maximum(shape - error, 0))

    def forward(self, y: ArrayLike) -> Float[Array, "sample dim"]:
        """x of y (sample, dim)."""
        y = floats(checks.array("y", y, ("sample", "dim"), sizes={"dim": self.centre.size}))
        return _in_blocks(_forward, self, y)

    def inverse(self, x: ArrayLike) -> tuple[Float[Array, "sample dim"], Float[Array, " sample"]]:
        r"""y of x (sample, dim), and $\log|\partial y/\partial x|$ (sample,)."""
        x = floats(checks.array("x", x, ("sample", "dim"), sizes={"dim": self.centre.size}))
        return _in_blocks(_inverse, self, x)


def fit(samples: ArrayLike) -> Tails:
    r"""Degrees and scales of each coordinate's two sides, by maximum likelihood of Student's t.

    The distances from the median on a side are taken for those of a Student's t, $\log2f_\nu(r/s)-\log s$ a
    sample, over $\log s$ and $1/\nu$ in [1/30, 2]; at 1/30 the side is a Gaussian's. Standard errors are
    those of the observed information. They say what the sample leaves open if the side is Student's; a body
    of another form moves the degrees.

    - `samples`: (sample, dim), at least ten on each side of the median.

    **Raises** `ValueError` for fewer samples, and for coordinates that do not vary.

    >>> found = fit(np.random.default_rng(0).standard_t(3, (4000, 1)))
    >>> bool((abs(found.degrees - 3) < 0.5).all()), found.heavy
    (True, True)
    """
    x = np.asarray(checks.array("samples", samples, ("sample", "dim")), float)
    if len(x) < 20:
        raise ValueError(f"samples: expected at least 20 to tell tails by, got {len(x)}: give more")
    checks.varying("samples", x)
    centre = np.median(x, axis=0)
    sides = [[_side(sign * (column - c)) for column, c in zip(x.T, centre, strict=True)] for sign in (-1, 1)]
    scale, shape, error = np.moveaxis(np.array(sides), -1, 0)
    return Tails(*map(float32, (centre, scale, shape, error)))


class Required(NamedTuple):
    """What a network's drift owes to the form of its weights' law: see `required`."""

    ratio: float
    difference: float
    floor: float


def required(network: LowRankNetwork, z: ArrayLike, u: ArrayLike | None = None) -> Required:
    r"""Whether a drift changes where the weights' law is replaced by a Gaussian of the same covariance.

    $$\frac{\mathrm{rms}\,|F_N - F_{\mathcal N}|}{\mathrm{floor}},\qquad
      \mathrm{floor}^2 = \frac1{RN}\,\big\langle\operatorname{tr}\mathrm{Cov}(n\phi)\big\rangle_z$$

    The floor is how far the drift of N neurons is from that of their population. A Gaussian that was given
    the network's own covariance is nearer, at about 0.1 to 0.7 of it, where the law is Gaussian or only n
    given e has other tails. A ratio above 1 says that the form of the law matters. It does not say which
    part of the form: clusters matter too.

    - `network`: its neurons are the sample. `z`, `u`: states (state, rank) and inputs (state, input).

    **Returns** the ratio, and the two parts of it, in units of the drift, the root mean square over states
    and coordinates.

    **Raises** `ValueError` for fewer neurons than weights of a neuron, or weights that depend linearly.

    Source: ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.heavy_tailed("both").sample(jr.key(0), 4000)
    >>> required(net, systems.grid(7)).ratio > 3
    True
    """
    e = network.embedding
    bias = e.d is not None
    x = np.asarray(jnp.concatenate([e.array, network.n], axis=1), float)
    if len(x) <= x.shape[1]:
        raise ValueError(
            f"network: expected more neurons than weights of a neuron, {x.shape[1]}, got {len(x)}"
        )
    covariance = np.cov(x.T)
    if np.linalg.matrix_rank(covariance, hermitian=True) < len(covariance):
        raise ValueError(
            "network: expected weights that vary and are linearly independent, got a covariance without "
            "full rank: drop parts that all neurons share"
        )
    gaussian = GaussianMixture(
        [1.0], x.mean(axis=0)[None], covariance[None], rank=e.rank, n_inputs=e.n_inputs, bias=bias
    )
    z, u = states(z, u, e.rank, e.n_inputs)
    drift = np.asarray(network.drift(z, u), float)
    other = np.asarray(gaussian.drift(z, u, activation=network.activation), float)
    rates = np.asarray(network.rates(z, u), float)
    n = np.asarray(network.n, float)
    variance = (rates**2 @ n**2 / len(n) - drift**2) / len(n)
    difference, floor = (float(np.sqrt(part.mean())) for part in ((drift - other) ** 2, variance))
    return Required(difference / floor, difference, floor)


def _side(distance: np.ndarray) -> tuple[float, float, float]:
    """Scale, 1 / degrees and its standard error, of the positive ones among distances (sample,)."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    r = distance[distance > 0]
    unit = np.median(r) if len(r) else 0.0
    # Where most are at the median there is no side to fit.
    if len(r) < 10 or not unit:
        return float(np.abs(distance).std()) or 1.0, _LIGHT, np.inf
    r = r / unit

    def loss(log_scale, shape):
        nu = 1 / shape
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - np.log(nu) / 2
        square = np.exp(2 * (np.log(r) - log_scale))
        return ((nu + 1) / 2 * np.log1p(square * shape)).mean() + log_scale - constant

    limits = [(-5.0, 5.0), (_LIGHT, _HEAVY)]
    best = minimize(lambda p: loss(*p), [0.0, 0.2], bounds=limits, method="L-BFGS-B").x
    # The information by differences, from within the limits.
    step, (a, b) = 1e-3, (best[0], np.clip(best[1], _LIGHT + 1e-3, _HEAVY - 1e-3))
    at = np.array([[loss(a + i * step, b + j * step) for j in (-1, 0, 1)] for i in (-1, 0, 1)])
    both = (at[2, 2] - at[2, 0] - at[0, 2] + at[0, 0]) / 4
    one, two = at[2, 1] - 2 * at[1, 1] + at[0, 1], at[1, 2] - 2 * at[1, 1] + at[1, 0]
    information = (two - both**2 / one) / step**2 if one > 0 else 0.0
    error = 1 / np.sqrt(len(r) * information) if information > 0 else np.inf
    return float(unit * np.exp(best[0])), float(best[1]), float(error)


def _log_survival(r, nu):
    """log P(t > r) of Student's t at r >= 0, by what is within near 0, and what is beyond far out."""
    near, half = r * r < nu, 0.5
    part = jnp.where(near, r * r, nu) / (nu + r * r)
    found = betainc(jnp.where(near, half, nu / 2), jnp.where(near, nu / 2, half), part)
    return jnp.log(jnp.maximum(jnp.where(near, 1 - found, found) / 2, 1e-37))


def _log_density(r, nu):
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - jnp.log(nu * jnp.pi) / 2
    return constant - (nu + 1) / 2 * jnp.log1p(r * r / nu)


def _in_blocks(solve, tails: Tails, x):
    """`solve(tails, x)` block by block of one size, so that it is compiled once for any number of samples."""
    if any(checks.is_traced(leaf) for leaf in jax.tree.leaves((tails, x))) or not len(x):
        return solve(tails, x)
    padded = np.pad(np.asarray(x), ((0, -len(x) % _BLOCK), (0, 0)), mode="edge")
    blocks = [solve(tails, padded[i : i + _BLOCK]) for i in range(0, len(padded), _BLOCK)]
    # In numpy: what jax cuts and joins, it compiles for every n.
    return jax.tree.map(lambda *parts: floats(np.concatenate(parts)[: len(x)]), *blocks)


@eqx.filter_jit
def _forward(tails: Tails, y):
    def one(y, centre, scale, shape):
        side = (y > 0).astype(int)
        nu, size = 1 / shape[side], jnp.abs(y)
        # A start by Wallace's approximation, then Newton's steps on log-log axes, where tails are straight.
        wallace = (8 * nu + 1) / (8 * nu + 3)
        r = jnp.sqrt(nu * jnp.expm1(jnp.minimum(size**2 / (nu * wallace**2), 80.0)))
        goal = jnp.maximum(norm.logcdf(-size), jnp.log(2e-37))

        def step(_, r):
            log_s = _log_survival(r, nu)
            slope = jnp.maximum(r, 1e-12) * jnp.exp(_log_density(r, nu) - log_s)
            return r * jnp.exp(jnp.clip((log_s - goal) / slope, -1.0, 1.0))

        r = jnp.where(shape[side] > 1.01 * _LIGHT, jax.lax.fori_loop(0, 5, step, r), size)
        return centre + scale[side] * jnp.sign(y) * r

    return jax.vmap(jax.vmap(one, in_axes=(0, 0, 1, 1)), in_axes=(0, None, None, None))(
        y, tails.centre, tails.scale, tails.shape
    )


@eqx.filter_jit
def _inverse(tails: Tails, x):
    def one(x, centre, scale, shape):
        side = (x > centre).astype(int)
        nu, r = 1 / shape[side], jnp.abs(x - centre) / scale[side]
        heavy = shape[side] > 1.01 * _LIGHT
        size = jnp.where(heavy, -ndtri(jnp.exp(_log_survival(r, nu))), r)
        slope = jnp.where(heavy, _log_density(r, nu) - norm.logpdf(size), 0.0) - jnp.log(scale[side])
        return jnp.where(side == 1, size, -size), slope

    y, slope = jax.vmap(jax.vmap(one, in_axes=(0, 0, 1, 1)), in_axes=(0, None, None, None))(
        x, tails.centre, tails.scale, tails.shape
    )
    return y, slope.sum(axis=1)
