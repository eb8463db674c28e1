r"""What measured drift says of the law of connectivity, of this one network, and of noise, by marginal
likelihood.
"""

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from . import threads
from .modes import Modes

# Searches for optima, and steps of the walk from these.
_SEARCHES, _STEPS = 12, 720
# Draws of the four numbers that are kept.
_DRAWS = 240
# Steepest fall of the prior of g that is looked at.
_STEEPEST = 5.0
# Steps towards the covariance of n given e.
_CLIMBS = 100
# Standard deviation, before the drift is seen, of the log of the variance of n given e over the power of g.
_SPREADS = 2.3
# Parts of v below this share of the drift's power are rounding errors.
_ROUNDING = 1e-32


class Evidence(eqx.Module):
    r"""How measured drift divides among the law of the weights, this network's accident, and noise.

    With $n_i=g(e_i)+\sigma\xi_i$, and for mode j of g a prior $\mathcal N(0,a(\lambda_j/\lambda_1)^p)$, the
    coefficients $c_j$ of the drift are independent, of variance

    $$v_j=\underbrace{a\lambda_j(\lambda_j/\lambda_1)^p}_{\text{law}}
      +\underbrace{\tfrac{\sigma^2}N\lambda_j}_{\text{this network}}
      +\underbrace{s^2+r\sqrt{\lambda_1\lambda_j}}_{\text{noise}}$$

    Its last part is of neurons that were not recorded: their drift falls more slowly than the modes of those
    that were. a, p, $\sigma$, s and r are drawn from their posterior. Made by `fit`; the numbers stand in the
    coordinates of `gauge`, so that nothing depends on the units of z.

    - `power`, `decay`, `spread`, `noise`, `others`: draws (draw,) of a, p, $\sigma$, s and r. `shares`:
      (rank,), variance of the noise of each coordinate relative to $s^2$.
    - `gauge`: A (rank, rank), from the coordinates of the steps to those of these numbers, in which noise is
      uncorrelated and n given e varies alike in all directions.

    Source: ours. The sampler: Goodman & Weare (2010), Comm. App. Math. Comp. Sci. 5, 65.
    """

    power: Float[np.ndarray, " draw"]
    decay: Float[np.ndarray, " draw"]
    spread: Float[np.ndarray, " draw"]
    noise: Float[np.ndarray, " draw"]
    others: Float[np.ndarray, " draw"]
    shares: Float[np.ndarray, " rank"]
    gauge: Float[np.ndarray, "rank rank"]

    def prior(self, relative: Float[np.ndarray, " mode"]) -> Float[np.ndarray, "draw mode"]:
        r"""$a(\lambda_j/\lambda_1)^p$, the prior variance of mode j of g."""
        return self.power[:, None] * relative ** self.decay[:, None]

    def parts(self, modes: Modes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The variance of the drift along each mode that is law, network and noise: (draw, mode, 1), (draw,
        mode, 1) and (draw, mode, rank).
        """
        return self.divided(modes.values, len(modes.neurons))

    def divided(
        self, values: Float[np.ndarray, " mode"], neurons: int, noise: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of modes of any eigenvalues (mode,) and `neurons`, with `noise` times the measured s."""
        relative = values / values[0]
        law = self.prior(relative) * values
        network = (self.spread[:, None] ** 2 / neurons) * values
        white = (noise**2 * self.noise[:, None] ** 2 * self.shares)[:, None, :]
        others = self.others[:, None] * values[0] * np.sqrt(relative)
        return law[:, :, None], network[:, :, None], white + others[:, :, None]

    def degrees_of_freedom(self, modes: Modes) -> tuple[float, float]:
        r"""How many numbers about the law of the weights, and how many about these very neurons, the drift
        holds: the sums over modes and coordinates of the two parts' shares in $v_j$.
        """
        law, network, noise = self.parts(modes)
        total = law + network + noise
        return float((law / total).sum(axis=(1, 2)).mean()), float((network / total).sum(axis=(1, 2)).mean())


@threads.one("scipy.optimize")
def fit(
    modes: Modes, gauge: Float[np.ndarray, "rank rank"], shares=None, *, seed: int = 0, quick: bool = False
) -> Evidence:
    r"""The numbers of `Evidence` from the modes of the drift.

    Their prior is wide: $p\sim\mathcal N(0.7,0.3^2)$ (a g that falls a little slower than the rates' own
    modes), and $\sigma$ is of the size of g to a factor of $e^{\pm1.15}$. Where the drift says anything these
    are outvoted. r is there only where the drift asks for it, by Schwarz's criterion. Twelve searches find
    the optima, from which 48 walkers sample.

    - `gauge`: see `Evidence`; `modes` are those of the steps' own coordinates. `shares`: (rank,), relative
      variances of the noise, equal by default. `quick`: a third of the searches and of the walk, which is
      enough for the medians of the draws.

    >>> rng = np.random.default_rng(0)
    >>> values = 100 * 0.5 ** np.arange(40.0)
    >>> variance = values * (values / 100) + 4 / 500 * values + 1e-8
    >>> drift = np.sqrt(variance)[:, None] * rng.normal(size=(40, 2))
    >>> modes = Modes(values, np.linalg.qr(rng.normal(size=(500, 40)))[0], drift, 1e-8 * 960 * np.eye(2), 1e3)
    >>> bool(abs(np.median(fit(modes, np.eye(2)).spread) - 2) < 0.3)
    True
    """
    rank = modes.drift.shape[1]
    shares = np.ones(rank) if shares is None else np.asarray(shares)
    relative, n = modes.relative, len(modes.neurons)
    drift = modes.drift @ gauge.T
    rest = np.maximum(np.diag(gauge @ modes.rest @ gauge.T), 0.0)
    # Of a drift that is 0 everywhere, products of the numbers below still are numbers.
    unit = max(float((drift**2).sum() + rest.sum()), 1e-60) / rank
    parts = (np.log(relative), drift**2 / unit, rest / unit, modes.steps)
    rng, found, share = np.random.default_rng(seed), [], 3 if quick else 1
    for others in (False, True):
        target = _Target(*parts, shares / np.exp(np.log(shares).mean()), n, others)
        optima = [_search(target, rng) for _ in range(_SEARCHES // share)]
        # A number more has to be worth it, by Schwarz's criterion.
        cost = min(value for value, _ in optima) + others * np.log(modes.steps) / 2
        found.append((cost, target, optima))
    _, target, optima = min(found, key=lambda one: one[0])
    power, decay, network, noise, others = _walk(target, optima, rng, _STEPS // share).T
    scale = unit / modes.values[0]
    return Evidence(
        scale * np.exp(power),
        decay,
        np.sqrt(scale * n * np.exp(network)),
        np.sqrt(unit * np.exp(noise)),
        scale * np.exp(others) if target.others else np.zeros(len(others)),
        target.shares,
        gauge,
    )


def coordinates(
    found: Evidence, modes: Modes, noise: Float[np.ndarray, "rank rank"]
) -> tuple[Float[np.ndarray, "rank rank"], Float[np.ndarray, " rank"]]:
    r"""Coordinates in which n given e varies alike in all directions and noise is uncorrelated: their gauge,
    and the variances of the noise there.

    The covariance of n given e is found by expectation-maximisation from the drift along the modes, with the
    numbers of `found` and the covariance of the noise (rank, rank) of the steps. Where the drift tells little
    of it, n varies alike in the coordinates of `found`.
    """
    noise = found.gauge @ noise @ found.gauge.T
    rank, power = len(noise), np.median(found.power) * modes.relative ** np.median(found.decay)
    eye, scale = np.eye(rank), np.median(found.spread) ** 2 / len(modes.neurons)
    along = modes.drift @ found.gauge.T / np.sqrt(modes.values)[:, None]
    rest = noise / modes.values[:, None, None]
    rest = rest + (power + np.median(found.others) / np.sqrt(modes.relative))[:, None, None] * eye
    shape = eye
    for _ in range(_CLIMBS):
        gain = scale * shape @ np.linalg.inv(scale * shape + rest)
        mean = np.einsum("jkl,jl->jk", gain, along)
        second = mean.T @ mean + (scale * (shape - gain @ shape)).sum(axis=0)
        # As if as many modes more as there are coordinates had varied alike in all directions.
        shape = (second / scale + rank * eye) / (len(along) + rank)
    gauge = np.linalg.inv(np.linalg.cholesky(shape * rank / np.trace(shape))) @ found.gauge
    variances, axes = np.linalg.eigh(
        gauge @ np.linalg.inv(found.gauge) @ noise @ np.linalg.inv(found.gauge).T @ gauge.T
    )
    return axes.T @ gauge, np.maximum(variances, 1e-4 * variances.max()) + 1e-300


def of_ridge(modes: Modes, ridge: float) -> Evidence:
    r"""A ridge $\rho$ as what it assumes: $p=0$, all weights part of the law, $a=s^2/(\rho N)$, with the
    noise s that it leaves.
    """
    n, rank = len(modes.neurons), modes.drift.shape[1]
    left = ridge * n / (modes.values + ridge * n)
    power = np.trace(modes.rest) + ((left[:, None] * modes.drift) ** 2).sum()
    freedom = max(modes.steps - (1 - left).sum(), 1.0)
    noise = np.sqrt(max(float(power), np.finfo(float).tiny) / (freedom * rank))
    one = np.ones(1)
    numbers = (noise**2 / (ridge * n) * one, 0 * one, 0 * one, noise * one, 0 * one)
    return Evidence(*numbers, np.ones(rank), np.eye(rank))


class _Target(NamedTuple):  # not a Module, whose attributes take longer to find than these sums take
    """The log posterior of (log a, p, log sigma^2, log s^2, log r), in units of the drift's power and of the
    first mode.
    """

    relative: Float[np.ndarray, " mode"]
    drift: Float[np.ndarray, "mode rank"]
    rest: Float[np.ndarray, " rank"]
    steps: float
    shares: Float[np.ndarray, " rank"]
    neurons: int
    others: bool

    def _prior(self, x) -> tuple:
        """Standardised: decay, log of the variance of n given e over the power of g, and log of r over a."""
        log_sizes = np.log(np.exp(self.relative).sum() / self.neurons)
        spread = (x[..., 2] - x[..., 0] - log_sizes) / _SPREADS
        return (x[..., 1] - 0.7) / 0.3, spread, self.others * (x[..., 4] - x[..., 0] + 16) / 8

    def _terms(self, x) -> tuple:
        """Minus the log posterior, up to the prior's part, of each x (..., 5), with the variance of the law,
        the network, others (..., mode) and the noise (..., rank), and the share of the drift in its variance
        (..., mode, rank).
        """
        law = np.exp(x[..., :1] + (1 + x[..., 1:2]) * self.relative)
        network = np.exp(x[..., 2:3] + self.relative)
        others = np.exp(x[..., 4:5] + self.relative / 2) if self.others else 0 * network
        noise = np.exp(x[..., 3:4]) * self.shares
        total = (law + network + others)[..., None] + noise[..., None, :]
        beyond = (self.steps - len(self.relative)) * len(self.shares) * x[..., 3] + (self.rest / noise).sum(
            -1
        )
        fit = self.drift / total
        value = 0.5 * ((np.log(total) + fit).sum(axis=(-1, -2)) + beyond)
        return value, law, network, others, noise, (1 - fit) / total

    def slope(self, x) -> tuple:
        """Minus the log posterior of one x (5,), and its gradient."""
        value, law, network, others, noise, change = self._terms(x)
        along, beyond = change.sum(axis=1), self.steps - len(self.relative)
        at_noise = change.sum(axis=0) @ noise + beyond * len(noise) - (self.rest / noise).sum()
        steeper = along @ (law * self.relative)
        gradient = 0.5 * np.array([along @ law, steeper, along @ network, at_noise, along @ others])
        decay, spread, share = self._prior(x)
        share_slope = self.others * share / 8
        gradient += [-spread / _SPREADS - share_slope, decay / 0.3, spread / _SPREADS, 0, share_slope]
        return float(value + 0.5 * (decay**2 + spread**2 + share**2)), gradient

    def log(self, x):
        """The log posterior of many (walker, 5), within the bounds of what is looked at."""
        decay, spread, share = self._prior(x)
        outside = (x[:, 1] < 0) | (x[:, 1] > _STEEPEST) | (x[:, 3] < np.log(_ROUNDING))
        outside |= (x[:, 2] < -90) | (self.others & (x[:, 4] < -90))
        return np.where(outside, -np.inf, -self._terms(x)[0] - 0.5 * (decay**2 + spread**2 + share**2))


def _search(target: _Target, rng) -> tuple[float, np.ndarray]:
    """Minus the log posterior at an optimum, and where that is, from a random start."""
    from scipy.optimize import minimize

    noise = np.log(1e-20) * rng.random() - np.log(target.steps)
    start = [2 * rng.normal() - 1, rng.uniform(0.2, 2), rng.uniform(-12, 0), noise, rng.uniform(-35, -10)]
    bounds = [(-30.0, 30.0), (0.0, _STEEPEST), (-80.0, 30.0), (np.log(_ROUNDING), 5.0), (-80.0, 30.0)]
    exact = {"ftol": 1e-13, "gtol": 1e-8}
    best = minimize(target.slope, np.array(start), jac=True, method="L-BFGS-B", bounds=bounds, options=exact)
    # Rounded, so that the walk starts from the same place whatever coordinates and precision z came in.
    return float(best.fun), best.x.round(3)


def _walk(target: _Target, optima, rng, steps: int) -> Float[np.ndarray, "draw 5"]:
    """Draws of the posterior by the stretch move: half of the walkers step along lines to the other half."""
    values = np.array([value for value, _ in optima])
    weights = np.exp(values.min() - values)
    starts = rng.choice(len(optima), 48, p=weights / weights.sum())
    walkers = np.stack([optima[i][1] for i in starts]) + 0.1 * rng.normal(size=(48, 5)) * [1, 0.3, 1, 0.1, 1]
    # Without others their number goes nowhere, and takes no dimension.
    free = 4 if target.others else 3
    walkers[:, 1] = np.clip(walkers[:, 1], 0.02, _STEEPEST - 0.1)
    walkers[:, 3] = np.maximum(walkers[:, 3], np.log(_ROUNDING) + 1)
    value, half, kept = target.log(walkers), len(walkers) // 2, []
    sides = (slice(0, half), slice(half, None))
    for step in range(steps):
        for mine, other in (sides, sides[::-1]):
            stretch = (1 + rng.random(half)) ** 2 / 2
            pivot = walkers[other][rng.integers(0, half, half)]
            proposed = pivot + stretch[:, None] * (walkers[mine] - pivot)
            new = target.log(proposed)
            taken = np.log(rng.random(half)) < free * np.log(stretch) + new - value[mine]
            walkers[mine] = np.where(taken[:, None], proposed, walkers[mine])
            value[mine] = np.where(taken, new, value[mine])
        if step >= steps // 3 and step % 16 == 0:
            kept.append(walkers.copy())
    draws = np.concatenate(kept)
    return draws[rng.permutation(len(draws))[:_DRAWS]]
