"""Turns: the rotations and reflections that may carry the neurons of one system onto those of another."""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from . import checks

# Neurons of one system in a white gauge: m (neuron, rank), g (neuron, rank), and what no turn changes
# (neuron, column).
Neurons = tuple[Float[np.ndarray, "neuron rank"], Float[np.ndarray, "neuron rank"], np.ndarray]


def candidates(
    p: Neurons, q: Neurons, rng: np.random.Generator, *, most: int = 32
) -> Float[np.ndarray, "turn rank rank"]:
    r"""Turns $Q\in O(R)$ with $Q\,(m_q,g_q)$ distributed about as $(m_p,g_p)$, from two searches.

    By moments: the turns that make those of order one to four agree best, from up to a thousand starts, as a
    step takes only small matrices. By a kernel: those of the largest $\mathbb E\,k(x_p,Qx_q)$, a maximum mean
    discrepancy, from 64 starts. Both climb by polar factors of a gradient.

    Where moments hardly tell a system from itself with axes reversed or exchanged, noise decides. Then there
    are several good turns, and $Q_aQ_b^\top$ are the changes that moments do not see. What follows from these
    are candidates too: $Q_aQ_b^\top Q_c$, and all choices of axes that are reversed.

    - `p`, `q`: m, g (neuron, rank) and what no turn changes (neuron, column), m white.
    - `most`: of the turns by moments.

    **Returns** a few hundred turns (turn, rank, rank), which are not sorted.

    Source: ours.

    >>> m = np.random.default_rng(0).laplace(size=(300, 2))
    >>> turn, nothing = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.zeros((300, 0))
    >>> q = (m @ turn, np.abs(m) @ turn, nothing)
    >>> found = candidates((m, np.abs(m), nothing), q, np.random.default_rng(1))
    >>> bool((np.linalg.norm(found - turn, axis=(1, 2)) < 0.1).any())
    True
    """
    rank = p[0].shape[1]
    if rank == 1:
        return np.array([[[1.0]], [[-1.0]]])
    # g in the unit of m, the same one for both.
    size = np.sqrt((np.mean(p[1] ** 2) + np.mean(q[1] ** 2)) / 2) or 1.0
    p, q = ((m, g / size, fixed) for m, g, fixed in (p, q))
    agree = _moments(p, q)
    # A thousand at rank 8; fewer where a step is more work.
    count = min(1000, 100 * rank**2, 20 + 4_000_000 // rank**4)
    best = distinct(_climb(agree, _random(rng, count, rank)), most)
    found = np.concatenate([best, _by_kernel(p, q, rng)])
    # Few enough for all their products.
    some = np.concatenate([best[:8], found[len(best) :][:2]])
    products = np.einsum("aij,bkj,ckl->abcil", some, some, some).reshape(-1, rank, rank)
    products = products[np.argsort(-agree(products)[0])]
    return distinct(np.concatenate([found, _reversals(agree, best, rng), products]), 384, apart=0.3)


def _reversals(agree: Callable, turns, rng) -> Float[np.ndarray, "turn rank rank"]:
    """The first turn with every choice of axes reversed, where turns differ by reversals of the same axes."""
    rank = turns.shape[-1]
    between = turns @ turns[0].T
    # Reversals are symmetric; so is a mixture of them, and has the axes of all.
    between = between[np.linalg.norm(between - between.transpose(0, 2, 1), axis=(1, 2)) < 0.5]
    mixed = np.einsum("k,kij->ij", rng.normal(size=len(between)), between)
    axes = np.linalg.eigh(mixed + mixed.T)[1]
    signs = np.array([*itertools.product((1.0, -1.0), repeat=min(rank, 8))])
    signs = np.concatenate([signs, np.ones((len(signs), rank - signs.shape[1]))], axis=1)
    return _climb(agree, np.einsum("ij,sj,kj->sik", axes, signs, axes) @ turns[0], 8)


def _random(rng, count: int, rank: int) -> Float[np.ndarray, "turn rank rank"]:
    # QR gives determinants of one sign only; with axes reversed at random there are rotations and
    # reflections.
    turns = np.linalg.qr(rng.normal(size=(count, rank, rank)))[0]
    turns = turns * rng.choice((-1.0, 1.0), size=(count, 1, rank))
    return np.concatenate([np.eye(rank)[None], turns])


def distinct(
    turns: Float[np.ndarray, "turn rank rank"], most: int, *, apart: float = 0.2
) -> Float[np.ndarray, "kept rank rank"]:
    """The first of each neighbourhood, `apart` times the size of a turn wide (Frobenius norms).

    >>> distinct(np.array([[[1.0]], [[-1.0]], [[1.0]]]), 3).ravel().tolist()
    [1.0, -1.0]
    """
    kept = []
    while len(turns) and len(kept) < most:
        kept.append(turns[0])
        turns = turns[np.linalg.norm(turns - turns[0], axis=(1, 2)) > apart * np.sqrt(turns.shape[-1])]
    return np.stack(kept)


def _polar(x):
    left, _, right = np.linalg.svd(x)
    return left @ right


def _climb(agree: Callable, turns, steps: int = 60) -> Float[np.ndarray, "turn rank rank"]:
    """Polar steps up an agreement, the best first; the worse three of four are given up twice."""
    best, value = turns, np.full(len(turns), -np.inf)
    for step in range(steps):
        found, slope = agree(turns)
        better = found > value
        best, value = np.where(better[:, None, None], turns, best), np.maximum(found, value)
        size = np.sqrt((slope**2).sum(axis=(1, 2), keepdims=True) / slope.shape[1])
        # Some of the turn itself keeps a step from going back and forth.
        turns = _polar(slope + 0.5 * size * turns)
        if step in (8, 20):
            keep = np.argsort(-value)[: max(len(turns) // 4, 40)]
            turns, best, value = turns[keep], best[keep], value[keep]
    return best[np.argsort(-value)]


def _moments(p: Neurons, q: Neurons) -> Callable:
    r"""The agreement $\sum_k\langle T^p_k,QT^q_k\rangle/\sigma_k^2$ of moments, $\sigma_k$ the error of an
    entry, and its slope, both of turns (turn, rank, rank).

    Of $x=(m,g)$ around its mean: $\mathbb E\,sx$, $\mathbb E\,sx_ix_j$ with s what no turn changes (1, the
    lengths, $m\cdot g$, b and d), $\mathbb E\,x_ix_jx_k$, and $\mathbb E\,m_im_jm_km_l$.
    """
    rank = p[0].shape[1]
    pairs = []
    for (a, of_a), (b, of_b) in zip(_tensors(*p), _tensors(*q), strict=True):
        weight = 1 / np.sqrt(of_a + of_b + 1e-12)
        pairs.append([weight.reshape(-1, *[1] * (x.ndim - 1)) * x for x in (a, b)])

    def agree(turns):
        # In parts that fit into a cache.
        parts = np.array_split(turns, -(-len(turns) * rank**4 // 500_000))
        values, slopes = zip(*map(of_part, parts), strict=True)
        return np.concatenate(values), np.concatenate(slopes)

    def of_part(turns):
        count, back = len(turns), turns.transpose(0, 2, 1)
        value, slope = np.zeros(count), np.zeros(turns.shape)
        for a, b in pairs:
            order = a.ndim - 1
            # All axes but the first are turned: the last one each time, which then goes to the second place.
            turned = np.broadcast_to(b, (count, *b.shape))
            for _ in range(order - 1):
                turned = (turned.reshape(count, -1, rank) @ back).reshape(turned.shape)
                turned = np.moveaxis(turned, -1, 3)
            first = np.moveaxis(a, 1, 0).reshape(rank, -1)
            part = first @ np.moveaxis(turned, 2, 1).reshape(count, rank, -1).transpose(0, 2, 1)
            value += (part * turns).sum(axis=(1, 2))
            # A tensor is symmetric in its axes, with those of the channels.
            slope += order * part
        return value, slope

    return agree


def _tensors(m, g, fixed) -> list:
    """Moments (channel, rank, ..., rank), and the mean square error of an entry of each channel."""
    n, rank = m.shape
    x = np.stack([m, g], axis=1)
    mean = x.mean(axis=0)
    x = x - mean
    # What is far out is brought nearer, which goes along with turns: moments of heavy tails are mostly noise.
    lengths, reach = np.sqrt((x**2).sum(axis=2)), 1.25 * np.sqrt(rank)
    x = x * np.minimum(1.0, reach / np.maximum(lengths, 1e-12))[..., None]
    inner = (x[:, 0] * x[:, 1]).mean(axis=1, keepdims=True)
    s = np.concatenate(
        [np.ones((n, 1)), np.minimum(lengths, reach) / np.sqrt(rank), inner, np.tanh(fixed)], axis=1
    )
    two = x[:, :, None, :, None] * x[:, None, :, None, :]
    m = two[:, 0, 0]
    found = []
    for order, spec, left, right in (
        (1, "na,nbi->abi", s, x),
        (2, "na,nbcij->abcij", s, two),
        (3, "nabij,nck->abcijk", two, x),
        (4, "nij,nkl->ijkl", m, m),
    ):
        tensor, square = (
            np.einsum(spec, a, b, optimize=True) / n for a, b in ((left, right), (left**2, right**2))
        )
        shape = (-1, *[rank] * order)
        error = (square - tensor**2).reshape(shape).mean(axis=tuple(range(1, order + 1))) / n
        tensor = tensor.reshape(shape)
        found.append((tensor, error))
    found[0][0][:2] += mean
    # The part of the fourth moment that no turn changes would drown the rest.
    same = np.eye(rank)
    same = sum(np.einsum(spec, same, same) for spec in ("ij,kl->ijkl", "ik,jl->ijkl", "il,jk->ijkl"))
    fourth = found[-1][0]
    fourth -= same * (fourth * same).sum() / (same**2).sum()
    return found


def _by_kernel(
    p: Neurons, q: Neurons, rng: np.random.Generator, *, count: int = 64, most: int = 8
) -> Float[np.ndarray, "turn rank rank"]:
    """Turns of the largest mean kernel, the best first."""
    rank = p[0].shape[1]
    turning = [np.stack([m, g]) for m, g, _ in (p, q)]
    fixed = [p[2], q[2]]
    norms = [(x**2).sum(axis=(0, 2)) for x in turning]

    def climb(turn, neurons, width, steps):
        """Polar steps up the mean kernel: a convex function is above its tangents."""
        (x, y), (f, h) = ([part[..., :neurons, :] for part in parts] for parts in (turning, fixed))
        offset = norms[0][:neurons, None] + norms[1][None, :neurons]
        offset = offset + ((f[:, None] - h[None]) ** 2).sum(axis=-1)
        for _ in range(steps):
            inner = sum(one @ turn @ other.T for one, other in zip(x, y, strict=True))
            kernel = np.exp((inner - offset / 2) / width)
            turn = _polar(sum(one.T @ kernel @ other for one, other in zip(x, y, strict=True)))
        return kernel.mean(), turn

    turns = _random(rng, count, rank)
    for neurons, width, steps, kept in ((200, rank, 30, most), (500, rank / 2, 30, most)):
        found = sorted((climb(one, neurons, width, steps) for one in turns), key=lambda x: -x[0])
        turns = distinct(np.stack([one for _, one in found]), kept, apart=0.04)
    return turns


class Pair:
    """Two distributions in white gauges, draws of both, and the rotations between them."""

    def __init__(self, p, q, e_p, e_q, rank):
        self.p, self.q, self.e_p, self.e_q, self.rank = p, q, e_p, e_q, rank
        self.g_p, self.g_q = (np.asarray(one.conditional_mean(e), float) for one, e in ((p, e_p), (q, e_q)))
        for name, g in (("p", self.g_p), ("q", self.g_q)):
            checks.finite(f"conditional mean of {name} at its own neurons", g)
        pairs = np.triu_indices(rank, 1)
        # A basis of the skew matrices.
        self.skew = np.zeros((len(pairs[0]), rank, rank))
        self.skew[np.arange(len(pairs[0])), *pairs] = 1.0
        self.skew -= self.skew.transpose(0, 2, 1)

    def turned(self, e, rotations):
        """Embeddings (neuron, embedding) in other coordinates: (rotation, neuron, embedding)."""
        m = np.einsum("qij,nj->qni", rotations, e[:, : self.rank])
        rest = np.broadcast_to(e[None, :, self.rank :], (*m.shape[:2], e.shape[1] - self.rank))
        return np.concatenate([m, rest], axis=-1)

    def differences(self, rotations, count):
        """$g_p-Qg_q$ at both embeddings, (rotation, 2, neuron, rank)."""
        there = self.turned(self.e_q[:count], rotations)
        back = self.turned(self.e_p[:count], rotations.transpose(0, 2, 1))
        of_p, of_q = np.asarray(self.p.conditional_mean(there)), np.asarray(self.q.conditional_mean(back))
        at_q = of_p - np.einsum("qij,nj->qni", rotations, self.g_q[:count])
        at_p = self.g_p[None, :count] - np.einsum("qij,qnj->qni", rotations, of_q)
        return np.stack([at_q, at_p], axis=1)

    def starts(self, rng, most: int = 8) -> Float[np.ndarray, "start rank rank"]:
        """The turns of the least distance between some of the neurons."""
        fixed = [e[:, self.rank :] for e in (self.e_p, self.e_q)]
        centre, spread = (np.concatenate(fixed).mean(axis=0), np.concatenate(fixed).std(axis=0))
        fixed = [(e - centre) / np.where(spread > 0, spread, 1.0) for e in fixed]
        neurons = [
            (e[:, : self.rank], g, f)
            for e, g, f in zip((self.e_p, self.e_q), (self.g_p, self.g_q), fixed, strict=True)
        ]
        found = candidates(*neurons, rng)
        # In parts of one size, which are compiled once.
        size = 16
        padded = np.concatenate([found, np.repeat(found[:1], -len(found) % size, axis=0)])
        parts = [
            np.mean(self.differences(part, 64) ** 2, axis=(1, 2, 3))
            for part in padded.reshape(-1, size, self.rank, self.rank)
        ]
        values = np.concatenate(parts)[: len(found)] + [self.plan(one, 128)[0] for one in found]
        return distinct(found[np.argsort(values)], most, apart=0.35)

    def plan(self, rotation, count: int):
        """Half the mean square distance of the first embeddings by optimal assignment, and the order."""
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        e_p, e_q = self.e_p[:count], self.e_q[:count]
        cost = cdist(e_p, self.turned(e_q, rotation[None])[0], "sqeuclidean") / 2
        order = linear_sum_assignment(cost)[1]
        return cost[np.arange(len(cost)), order].mean(), order

    def descend(self, rotation, steps: int = 6):
        """Gauss-Newton steps on the distance; returns its value by assignment, and the rotation."""
        from scipy.linalg import expm

        # Fewer neurons where each stands for more directions, so that g is asked for about equally often.
        rank, near, count = self.rank, 1e-2, max(128, 1024 // (1 + len(self.skew)))
        # An assignment takes the third power of their number.
        m_p, m_q = self.e_p[:300, :rank], self.e_q[:300, :rank]

        def at(rotations):
            """The residuals of g, of mean square the second term of the distance: (rotation, residual)."""
            left = self.differences(rotations, count).reshape(len(rotations), -1)
            return left / np.sqrt(left.shape[1])

        def value(rotation, residuals):
            plan, order = self.plan(rotation, 300)
            return plan + residuals @ residuals, order

        small = np.stack([np.eye(rank), *(expm(near * one) for one in self.skew)])
        residuals, damping = at(small @ rotation), 1e-3
        best, order = value(rotation, residuals[0])
        for _ in range(steps if rank > 1 else 0):
            # The plan stays within a step: it gives a bound from above.
            turned = m_q[order] @ rotation.T
            moved = np.einsum("kij,nj->kni", self.skew, turned)
            plan = (turned - m_p).ravel() / np.sqrt(2 * len(m_p))
            slopes = np.concatenate(
                [
                    (residuals[1:] - residuals[0]).T / near,
                    moved.reshape(len(self.skew), -1).T / np.sqrt(2 * len(m_p)),
                ]
            )
            gram, slope = slopes.T @ slopes, slopes.T @ np.concatenate([residuals[0], plan])
            change = np.linalg.solve(gram + damping * np.trace(gram) * np.eye(len(gram)), -slope)
            tried = expm(np.einsum("k,kij->ij", change, self.skew)) @ rotation
            left = at(small @ tried)
            found, new = value(tried, left[0])
            if found < best:
                enough = best - found < 1e-3 * best
                best, rotation, residuals, order, damping = found, tried, left, new, damping / 10
                if enough:
                    break
            else:
                damping *= 30
        return best, rotation
