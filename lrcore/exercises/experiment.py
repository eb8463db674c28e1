"""Exercises of the chapter *How much did your experiment identify?*"""

import jax.random as jr
import numpy as np

from .. import systems
from ..identifiability import spectrum
from .judge import same


def ex_ex_df(answer):
    """`degrees_of_freedom(X, noise, size)`: tr K (K + lambda)^-1 from rates."""
    X = np.tanh(np.random.default_rng(0).normal(size=(30, 2)) @ np.random.default_rng(1).normal(size=(2, 50)))
    (steps, n), noise, size = X.shape, 0.2, 0.05
    values = np.linalg.eigvalsh(X @ X.T).clip(0) / (n * steps)

    def freedom(values, ridge):
        return np.sum(values / (values + ridge))

    right = noise**2 / (size**2 * steps)
    clues = {
        "K is a mean over the neurons: divide by N": freedom(values * n, right),
        "K has 1/T: divide by the number of steps": freedom(values * steps, right),
        "lambda is s^2 / (s_0^2 T): the noise of T steps": freedom(values, right * steps),
        "the noise and the prior size are squared in lambda": freedom(values, noise / (size * steps)),
    }
    same("df of 30 steps", answer(X, noise, size), freedom(values, right), clues=clues)


def ex_ex_price(answer):
    """`times_as_many(information, more)`: by how much the trials must grow for `more` further modes."""
    information = 3e4 / 2.5 ** np.arange(20) ** 1.1
    have = int((information >= 99).sum())
    for more in (1, 4):
        clues = {
            "one mode too far: numbers of modes start at 0": 99 / information[have + more],
            "one mode too few: the last that is identified is had already": 99 / information[have + more - 2],
            "count from the modes that are identified already": 99 / information[more - 1],
            "information grows as T, not as its root": (99 / information[have + more - 1]) ** 2,
            "information grows as T, not as its square": (99 / information[have + more - 1]) ** 0.5,
            "identified is 99, not 1": 1 / information[int((information >= 1).sum()) + more - 1],
        }
        wanted = 99 / information[have + more - 1]
        same(f"for {more} more", answer(information, more), wanted, rtol=0.02, clues=clues)


def ex_ex_free(answer):
    """`drift_change(m, added, z)`: how far the drift moves when n_1 does, root mean square over states."""
    rng = np.random.default_rng(2)
    m, added, z = rng.normal(size=(60, 3)), rng.normal(size=60), rng.normal(size=(25, 3))
    moved = np.tanh(z @ m.T) @ added / 60
    wanted = np.sqrt(np.mean(moved**2))
    clues = {
        "the drift is a mean over neurons: divide by N": 60 * wanted,
        "the root of the mean square over states, not of the sum": wanted * np.sqrt(25),
        "square before the mean: signs cancel": np.mean(moved),
        "the square, not the absolute value": np.mean(np.abs(moved)),
        "take the root": wanted**2,
        "neurons write their rate tanh(m z)": np.sqrt(np.mean((z @ m.T @ added / 60) ** 2)),
    }
    same("change of the drift", answer(m, added, z), wanted, clues=clues)


def ex_ex_start(answer):
    """`freedom_from(network, starts, noise, size)`: df of the trials of a network from given starts."""
    network, noise, size = systems.bistable().sample(jr.key(3), 80), 0.2, 0.3
    starts = np.random.default_rng(3).uniform(-2, 2, (5, 2)).astype(np.float32)
    path = np.asarray(network.simulate(starts, None, systems.ALPHA, 100), float)

    def freedom(states, steps=None):
        return spectrum(network.embedding, states).degrees_of_freedom(noise, size=size, steps=steps)

    states = path[:, :-1].reshape(-1, 2)
    clues = {
        "the starts alone are no trials: simulate from them": freedom(starts),
        "every state of every trial counts as a step": freedom(states, len(starts)),
        "one trial only: all of them go in": freedom(path[0, :-1]),
        "without the size of the prior": spectrum(network.embedding, states).degrees_of_freedom(noise),
    }
    same("df of five trials", answer(network, starts, noise, size), freedom(states), rtol=0.02, clues=clues)
