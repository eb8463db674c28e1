"""Exercises of the chapter *Flow matching*."""

import jax.numpy as jnp
import numpy as np

from .judge import numbers, same


class _Turning:
    """A flow with a velocity that depends on place and time, of known Euler steps."""

    shift = np.array([0.5, -2.0], np.float32)
    scale = np.array([3.0, 0.4], np.float32)

    def velocity(self, x, t, condition):
        turn = jnp.array([[-0.6, 1.1], [-1.1, -0.6]], jnp.float32)
        return turn @ x * (1 + t) + jnp.array([1.0, -2.0], jnp.float32) * t**2


def ex_euler_push(answer):
    """`euler_push(flow, x0, steps)`: samples by Euler steps, in the units of the data."""
    flow, x0, steps = _Turning(), np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32), 6

    def push(x, times, steps=steps):
        for t in times:
            x = x + np.stack([flow.velocity(one, t, None) for one in x]) / steps
        return x

    begins = np.arange(steps) / steps
    right = push(x0, begins)
    clues = {
        "in the flow's own coordinates: bring the points to the units of the data": right,
        "x0 is noise, in the flow's own coordinates already": flow.shift
        + flow.scale * push((x0 - flow.shift) / flow.scale, begins),
        "the velocity is to be taken at the beginning of each step": flow.shift
        + flow.scale * push(x0, begins + 1 / steps),
        "the points are scale x + shift, not scale (x + shift)": flow.scale * (right + flow.shift),
        "time has to run from 0 to 1: step k begins at k / steps": flow.shift
        + flow.scale * push(x0, 0 * begins),
        "the last step is missing": flow.shift + flow.scale * push(x0, begins[:-1]),
        "the times go from 0 to 1 - 1 / steps": flow.shift + flow.scale * push(x0, np.linspace(0, 1, steps)),
    }
    got = answer(flow, jnp.asarray(x0), steps)
    same("five points after six steps", got, flow.shift + flow.scale * right, clues=clues)


def ex_tail(answer):
    """`unbend(y)`: back from the coordinate in which a power law has Gaussian tails."""
    x = np.array([-300.0, -2.0, -0.1, 0.0, 0.03, 0.7, 5.0, 1000.0])
    y = np.sign(x) * np.sqrt(np.log1p(x**2))
    clues = {"the sign is lost: x has that of y": np.abs(x), "this is x^2: one square root more": x**2}
    # Each to its own size, as the largest is a thousand.
    scale = np.where(x == 0, 1, np.abs(x))
    clues = {clue: value / scale for clue, value in clues.items()}
    clues["with its sign, but squared: one square root more"] = np.sign(x) * x**2 / scale
    clues["one is missing: e^(y^2) - 1"] = np.sign(y) * np.exp(y**2 / 2) / scale
    clues["y is the root of a logarithm: square it first"] = np.sign(y) * np.sqrt(np.expm1(np.abs(y))) / scale
    x_got = numbers("x of eight y", answer(y), shape=y.shape)
    same("x of eight y, in units of x", x_got / scale, np.sign(x), clues=clues)


def ex_memory(answer):
    """`memory_velocity(x, t, data)`: the exact minimiser on a finite sample."""
    rng = np.random.default_rng(0)
    data, x = rng.normal(size=6), rng.normal(size=9)
    for t in (0.0, 0.5, 0.9):
        away = x[:, None] - t * data
        lead = (data - x[:, None]) / (1 - t)

        def mean(exponent, lead=lead):
            weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
            return (weight / weight.sum(axis=1, keepdims=True) * lead).sum(axis=1)

        exponent = -(away**2) / 2 / (1 - t) ** 2
        nearest = lead[np.arange(len(x)), np.abs(away).argmin(axis=1)]
        clues = {
            "all samples count alike; weight them by p(c | x, t)": lead.mean(axis=1),
            "only the nearest sample counts; take the mean with p(c | x, t)": nearest,
            "the way that is left takes the time 1 - t": mean(exponent) * (1 - t),
            "the width of a line at time t is 1 - t: divide the squares by 2 (1 - t)^2": mean(-(away**2) / 2),
            "lines to the sample c are around t x_c at time t, not around x_c": mean(
                -((x[:, None] - data) ** 2) / 2 / (1 - t) ** 2
            ),
            "the velocity leads to the sample from x, not from 0": mean(exponent, 0 * lead + data),
        }
        got = answer(jnp.asarray(x, jnp.float32), t, data)
        same(f"v at t = {t:g}", got, mean(exponent), rtol=2e-3, clues=clues)
