"""Exercises of the chapter *The connectivity a decision requires*."""

import jax.numpy as jnp
import numpy as np

from .. import systems
from .judge import same


def _flow(z, u=None):
    """A drift that clicks make flatter, and shift where they come from one side."""
    left, right = (0.0, 0.0) if u is None else (u[..., 0], u[..., 1])
    first = 2 / (1 + 6 * (left + right)) * jnp.tanh(z[..., 0]) + 4 * (right - left)
    return jnp.stack([first, 0.5 * jnp.tanh(z[..., 1])], axis=-1)


def ex_rq_rates(answer):
    """`balanced(drift, rates, starts)`: at which rates of clicks a flow still decides."""
    clues = {
        "the input is not used: pass u": np.ones(4),
        "half of the clicks come from either side, and a bin has 0.01 s": np.array([1.0, 0, 0, 0]),
        "whether it decides, not whether it does not": np.array([0.0, 0, 1, 1]),
    }
    got = answer(_flow, (0, 10, 20, 40), systems.grid(5))
    same("decides at 0, 10, 20 and 40 clicks a second", got, np.array([1.0, 1, 0, 0]), clues=clues)


def ex_rq_tolerance(answer):
    """`ridge_weights(rates, y, rho)`: n of least squares with a ridge."""
    rng = np.random.default_rng(14)
    rates, y, rho = np.tanh(rng.normal(size=(80, 30))), rng.normal(size=(80, 2)), 0.02

    def solve(x, ridge):
        return np.linalg.solve(x.T @ x + ridge * np.eye(30), x.T @ y)

    clues = {
        "the drift is a mean over neurons: its features are the rates over N": solve(rates, rho),
        "a sum over steps, not a mean": solve(rates / 30, rho * 80),
        "without the ridge": solve(rates / 30, 0),
        "rho, not its square": solve(rates / 30, rho**2),
    }
    same("n", answer(rates, y, rho), solve(rates / 30, rho), clues=clues)


def ex_rq_power(answer):
    """`into_fit(z, gauge, centre)`: true latents in the coordinates of a fit."""
    rng = np.random.default_rng(15)
    fitted, gauge, centre = (
        rng.normal(size=(4, 7, 2)),
        np.array([[1.5, 0.7], [-0.4, 0.8]]),
        np.array([0.3, -2]),
    )
    clues = {
        "states are rows: (A z)^T is z^T A^T": (fitted @ gauge.T) @ np.linalg.inv(gauge),
        "from the truth to the fit: the inverse of the gauge": (fitted @ gauge.T) @ gauge.T,
        "first the centre, then the gauge": fitted + centre @ np.linalg.inv(gauge).T - centre,
        "take the centre off": fitted + centre @ np.linalg.inv(gauge).T,
    }
    same("the latents", answer(fitted @ gauge.T + centre, gauge, centre), fitted, clues=clues)
