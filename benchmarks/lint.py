"""LINT on the quadstable recording: time of one fit and of 20 seeds at once, and clusters of n over seeds.

Arguments: epochs (1,000) and seeds (20). Fewer epochs say as much about time, as each costs the same.
"""

import sys
import time

import jax
import jax.random as jr
import numpy as np

import lrcore as lr

ALPHA = lr.systems.ALPHA
N, TRIALS = 1000, 240


def main(epochs: int = 1000, seeds: int = 20):
    p = lr.systems.quadstable()
    truth = p.sample(jr.key(0), N)
    trials = np.random.default_rng(0).permutation(400)[:TRIALS]
    recording = lr.Recording(rates=truth.rates(lr.systems.trajectories(truth)[trials]), bin_width=0.01)

    def train(seeds, epochs):
        start = time.perf_counter()
        options = {"seeds": seeds, "epochs": epochs, "progress": False}
        done = lr.lint.fit(recording, 2, alpha=ALPHA, key=jr.key(1), **options)
        return time.perf_counter() - start, done

    one, _ = train(1, epochs)
    many, trained = train(seeds, epochs)
    left = trained.error / np.var(recording.rates)
    print(
        f"jax {jax.__version__} on {jax.devices()[0].platform}, {N} neurons, {TRIALS} trials, {epochs} epochs"
    )
    print(f"one fit {one:.0f} s, {seeds} seeds {many:.0f} s: {many / one:.1f} times", flush=True)
    print(f"variance of the rates left: {left.min():.2g} to {left.max():.2g}", flush=True)

    # Each seed another draw: of the truth's neurons, of Connector's weights, of LINT's start.
    found = lr.rates.latents(recording, 2, activation="tanh")
    mean = lr.maxent.fit(found.z, found.embedding, alpha=ALPHA).n
    counts = {"truth": [], "Connector": [], "LINT": []}
    for seed in range(seeds):
        key = jr.key(100 + seed)
        drawn = {
            "truth": p.sample(key, N).n,
            "Connector": mean + np.asarray(jr.normal(key, mean.shape)),
            "LINT": trained.networks[seed].n,
        }
        for name, n in drawn.items():
            counts[name].append(lr.structure.clusters(np.asarray(n), key=key).count)
    for name, one in counts.items():
        print(f"clusters of {name}: {one.count(4)} of {seeds} seeds have four; {one}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
