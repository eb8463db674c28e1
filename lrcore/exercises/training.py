"""Exercises of the chapter *Training low-rank RNNs*."""

import numpy as np

from .judge import same


def ex_tr_adjoint(answer):
    """`adjoint_step(after, h, missed, m, n, w, alpha)`: backpropagation through one step."""
    rng = np.random.default_rng(0)
    m, n, w = (rng.normal(size=(7, columns)) for columns in (3, 3, 2))
    after, h, missed, alpha = rng.normal(size=3), rng.normal(size=7), rng.normal(size=2), 0.3
    bent = 1 - np.tanh(h) ** 2

    def step(m, n, slope=bent, leak=1 - alpha, twice=2.0, alpha=alpha, size=7):
        return leak * after + m.T @ (slope * (alpha * (n @ after) + twice * (w @ missed))) / size

    clues = {
        "m and n have changed places: the transposed Jacobian acts on what comes after": step(n, m),
        "without the slope of the rate": step(m, n, slope=1.0),
        "without the leak, (1 - alpha) times what comes after": step(m, n, leak=0.0),
        "the square of the error gives a factor of 2": step(m, n, twice=1.0),
        "divide the sums over neurons by their number": step(m, n, size=1),
        "alpha belongs to what goes through n": step(m, n, alpha=1.0),
    }
    same("lambda_t", answer(after, h, missed, m, n, w, alpha), step(m, n), clues=clues)


def ex_tr_psychometric(answer):
    """`psychometric(labels, chosen, edges)`: the share of choices right in each bin."""
    rng = np.random.default_rng(0)
    labels = rng.integers(-20, 21, 300)
    chosen = rng.uniform(size=300) < 1 / (1 + np.exp(-labels / 5 - 0.5))
    edges = np.array([-20.5, -12.5, -3.5, 2.5, 20.5])  # no difference lies on an edge
    inside = (labels >= edges[:-1, None]) & (labels < edges[1:, None])
    count, right = inside.sum(axis=1), (inside & chosen).sum(axis=1)
    clues = {
        "divide by the trials of the bin, not by all trials": right / 300,
        "the number of choices right, not their share": right,
        "the share of choices left": 1 - right / count,
        "of all choices right, the share that fell in each bin": right / right.sum(),
    }
    same("the share in each bin", answer(labels, chosen, edges), right / count, clues=clues)


def ex_tr_noise(answer):
    """`angle_error(said, shown)`: the median angle between read-outs and what was shown."""
    rng = np.random.default_rng(0)
    shown = np.append(rng.integers(0, 360, 40), [2, 358, 1])
    off = rng.normal(size=43) * 30
    length = rng.uniform(0.3, 2, 43)
    said = (length * np.array([np.cos(np.deg2rad(shown + off)), np.sin(np.deg2rad(shown + off))])).T
    wanted = np.abs((off + 180) % 360 - 180)
    direction = np.rad2deg(np.arctan2(said[:, 1], said[:, 0]))
    slope = np.rad2deg(np.arctan(said[:, 1] / said[:, 0]))
    cosine = np.clip(np.sum(said.T * [np.cos(np.deg2rad(shown)), np.sin(np.deg2rad(shown))], axis=0), -1, 1)
    clues = {
        "take the difference round the circle: 359 and 1 degree are 2 apart": np.median(
            np.abs(direction - shown)
        ),
        "take the difference round the circle: at most 180 degrees": np.median(
            np.abs(direction % 360 - shown)
        ),
        "arctan2 takes the sine first, then the cosine": np.median(
            np.abs((90 - direction - shown + 180) % 360 - 180)
        ),
        "arctan knows half of the circle; arctan2 knows all": np.median(
            np.abs((slope - shown + 180) % 360 - 180)
        ),
        "divide by the length of what was said": np.median(np.rad2deg(np.arccos(cosine))),
        "the mean, not the median": wanted.mean(),
        "in radians, not in degrees": np.median(np.deg2rad(wanted)),
        "without the sign: the median of the errors' sizes": np.median((off + 180) % 360 - 180),
    }
    same("the median error", answer(said, shown), np.median(wanted), clues=clues)
