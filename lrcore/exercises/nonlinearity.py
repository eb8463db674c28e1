"""Exercises of the chapter *What a nonlinearity sees*."""

from collections.abc import Iterable

import numpy as np

from .judge import Wrong, numbers, same


def _weighted():
    """Rates (state, node) with known singular values under unequal weights of the nodes, and the weights."""
    rng, s = np.random.default_rng(0), np.array([30, 3, 0.3, 0.006])
    shares = rng.exponential(size=25) ** 3 + 1e-3
    shares /= shares.sum()
    left, right = (np.linalg.qr(rng.normal(size=(count, 4)))[0] for count in (9, 25))
    return (left * s) @ right.T / np.sqrt(shares), shares, right.T


def ex_nl_share(answer):
    """`determined_share(X, shares, f, tolerance)`: what of a function the rates hold."""
    X, shares, right = _weighted()
    f = np.random.default_rng(1).normal(size=25) + 0.8 * (right[0] - right[2] + right[3]) / np.sqrt(shares)

    def share(f, X, modes, weight):
        _, _, right = np.linalg.svd(X, full_matrices=False)
        return np.sum((right[:modes] @ f) ** 2) / weight

    root = np.sqrt(shares)
    right = share(root * f, X * root, 3, shares @ f**2)
    clues = {
        "the nodes have weights: the sums over nodes are to be weighted by shares": share(f, X, 3, f @ f),
        "this is the root of the share: the energy is a mean of squares": np.sqrt(right),
        "this is the energy inside; divide by that of f": right * (shares @ f**2),
        "weight rates and function by the root of shares, as their product has shares": share(
            shares * f, X * shares, 3, np.sum((shares * f) ** 2)
        ),
        "singular values below the tolerance times the first count as zero": share(
            root * f, X * root, 4, shares @ f**2
        ),
        "this is the share that is free: one minus it": 1 - right,
    }
    same("the share of f", answer(X, shares, f, 2e-3), right, rtol=2e-3, atol=1e-4, clues=clues)


def ex_nl_sine(answer):
    """`sine_orders(bias)`: the derivatives of the sine that do not vanish."""
    for name, bias in (("0", 0.0), ("pi / 2", np.pi / 2), ("-pi", -np.pi), ("0.3", 0.3)):
        wanted = {k for k in range(8) if abs(np.sin(bias + k * np.pi / 2)) > 1e-9}
        got = answer(bias)
        if got is None:
            raise Wrong("nothing came back; a function ends with `return`")
        got = {int(k) for k in np.ravel(list(got) if isinstance(got, Iterable) else got)}
        if got == set(range(8)) != wanted:
            raise Wrong(f"orders at {name}: all of them; is a derivative of 1e-16 different from 0?")
        if got == set(range(8)) - wanted:
            raise Wrong(f"orders at {name}: these are the ones whose derivative is 0")
        if 0 in wanted and got == wanted - {0}:
            raise Wrong(f"orders at {name}: order 0, the sine itself, is missing")
        if got != wanted:
            raise Wrong(f"orders at {name}: expected {len(wanted)} of them, got {sorted(got)}")


def ex_nl_threshold(answer):
    """`count_modes(X, shares, tolerance)`: singular values above a tolerance."""
    X, shares, _ = _weighted()
    right, plain, twice = (
        np.linalg.svd(X * weight, compute_uv=False) for weight in (np.sqrt(shares), 1, shares)
    )
    for tolerance in (5e-3, 0.09, 1.5e-4):
        clues = {
            "the tolerance is in units of the first singular value": (right > tolerance).sum(),
            "the nodes have weights: multiply X by the root of shares": (plain > tolerance * plain[0]).sum(),
            "weight by the root of shares: a square has shares then": (twice > tolerance * twice[0]).sum(),
            "a number of states or nodes; count the singular values above the tolerance": len(right),
        }
        wanted = (right > tolerance * right[0]).sum()
        same(
            f"modes above {tolerance:g}",
            answer(X, shares, tolerance),
            wanted,
            rtol=0.0,
            atol=0.0,
            clues=clues,
        )


def ex_nl_odd(answer):
    """`hidden(m)`: any function that softplus neurons with standard Gaussian m do not see."""
    m = np.linspace(-10, 10, 2001)
    shares = np.exp(-(m**2) / 2)
    shares /= shares.sum()
    got = numbers("hidden(m)", answer(m), shape=m.shape)
    same("the shape of hidden(m)", np.zeros(got.shape), np.zeros(m.shape))
    if not np.isfinite(got).all():
        raise Wrong("hidden(m): not finite for every m between -10 and 10")
    size = np.sqrt(shares @ got**2)
    if np.abs(got[np.abs(m) < 4]).max() <= 1e-9 * np.abs(got).max():
        raise Wrong("hidden(m): zero is hidden from all neurons; find a function that is not zero")
    even = np.abs(got + got[::-1]) > 1e-3 * (size + np.abs(got))  # also far out, where few neurons are
    if even.any():
        raise Wrong("hidden(m): it has an even part, and softplus sees every even function")
    if abs(shares @ (got * m)) > 1e-3 * size:
        raise Wrong("hidden(m): odd, but E[hidden(m) m] is not 0, and the drift holds this number")
    rates = np.logaddexp(np.linspace(-3, 3, 13)[:, None] * m, 0)
    if np.abs((rates * shares) @ got).max() > 1e-3 * size:
        raise Wrong("hidden(m): the drift changes")


def ex_nl_states(answer):
    """`most_modes(z)`: different states, up to their sign, without the origin."""
    same("states 0.5, 1 and 2", answer(np.array([0.5, 1.0, 2.0])), 3, atol=0.0)
    for z, clue in (
        ([1.0, -1.0, 2.0], "the rates at z and -z are opposite, and one tells what the other does"),
        ([0.0, 1.0, 2.0], "at z = 0 all rates are 0"),
        ([1.0, 2.0, 1.0], "a state that was there before adds nothing"),
    ):
        name = f"states {z[0]:g}, {z[1]:g} and {z[2]:g}"
        same(name, answer(np.array(z)), 2, atol=0.0, clues={clue: 3})
    same("seven states", answer(np.array([0.5, -0.5, 2.0, 0.0, 1.5, 2.0, -3.0])), 4, atol=0.0)
