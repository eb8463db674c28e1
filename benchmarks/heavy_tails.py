"""Heavy tails recovered: the tables of benchmarks/README.md under the name.

python benchmarks/heavy_tails.py
"""

import jax.random as jr
import numpy as np
from scipy import stats
from scipy.special import ndtri

import lrcore as lr

SEEDS = range(5)
OUTER = [0.001, 0.999]


def recovered(dim: int, df: float = 3.0, neurons: int = 2000) -> None:
    """Index and outer quantiles of p(e), fitted to neurons with independent Student weights."""
    base = ndtri(np.clip(lr.distributions.sobol(np.random.default_rng(0), 65536, dim + 1), 1e-9, 1 - 1e-9))
    for kind in ("heavy", "flow"):
        index, quantile = [], []
        for seed in SEEDS:
            x = np.random.default_rng(seed).standard_t(df, (neurons, dim))
            p = lr.population.fit(x, key=jr.key(seed), kind=kind, updates=1000, progress=False)[0]
            drawn = np.asarray(p.push(base), float)
            index.append(lr.tails.tail_index(drawn, share=0.001).index)
            quantile.append(np.quantile(drawn, OUTER, axis=0) / stats.t(df).ppf(OUTER)[:, None])
        index, quantile = np.array(index), np.array(quantile)
        listed = ", ".join(f"{one:.1f}" for one in np.sort(index.ravel()))
        q = np.median(quantile, axis=(0, 2))
        print(f"| {dim} | {kind} | {np.median(index):.2f} | {listed} | {q[0]:.2f}, {q[1]:.2f} |", flush=True)


def told_apart(law: str, neurons: int) -> None:
    """Least, median and largest ratio of `lr.tails.required` over draws of both systems."""
    shown = []
    for where in ("both", "n"):
        p = lr.systems.heavy_tailed(where, law)
        z = lr.systems.grid(9)
        ratio = [lr.tails.required(p.sample(jr.key(k), neurons), z).ratio for k in range(20)]
        shown.append(f"{np.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})")
    print(f"| {law} | {neurons} | {shown[0]} | {shown[1]} |", flush=True)


if __name__ == "__main__":
    for law in ("student", "log-normal"):
        for neurons in (500, 2000):
            told_apart(law, neurons)
    for dim in (1, 2):
        recovered(dim)
