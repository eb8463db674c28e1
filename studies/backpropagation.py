"""What training by backpropagation (LINT) leaves in the weights: clusters over seeds, and sorted weights over
systems.

`python studies/backpropagation.py` counts clusters of n over seeds; arguments: epochs (1,000), seeds (20).
With the word `matrix` it trains one network on each system and compares sorted weights with those of the four
truths.
"""

import os
import sys

import jax
import jax.random as jr
import numpy as np

import lrcore as lr

# One device a core: seeds are divided among devices.
jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))

ALPHA = lr.systems.ALPHA
N, TRIALS = 1000, 240


def recorded(net) -> lr.Recording:
    """Rates of the training trials."""
    trials = np.random.default_rng(0).permutation(400)[:TRIALS]
    return lr.Recording(rates=net.rates(lr.systems.trajectories(net)[trials]), bin_width=0.01)


def matrix(epochs: int = 1000):
    """Rows: networks trained on each system's rates; columns: the networks that made the rates. Relative to
    the largest entry.
    """
    truth = [make().sample(jr.key(k), N) for k, make in enumerate(lr.systems.SYSTEMS.values())]
    rows = []
    for net in truth:
        trained = lr.training.on_recording(
            recorded(net), 2, alpha=ALPHA, key=jr.key(1), epochs=epochs, progress=False
        )
        rows.append([lr.compare.lint_dissimilarity(trained.networks[0], other) for other in truth])
    rows = np.array(rows)
    print((rows / rows.max()).round(2))


def clusters(epochs: int = 1000, seeds: int = 20):
    """Counts over seeds, each another draw: of the truth's neurons, of Connector's weights, of LINT's
    start.
    """
    p = lr.systems.quadstable()
    recording = recorded(p.sample(jr.key(0), N))
    options = {"seeds": seeds, "epochs": epochs, "progress": False}
    trained = lr.training.on_recording(recording, 2, alpha=ALPHA, key=jr.key(1), **options)
    left = trained.error / np.var(recording.rates)
    print(f"variance of the rates left: {left.min():.2g} to {left.max():.2g}", flush=True)
    found = lr.latents.from_rates(recording, 2, activation="tanh")
    mean = lr.maxent.fit(found.steps(), found.embedding).n
    counts = {"truth": [], "Connector": [], "LINT": []}
    for seed in range(seeds):
        key = jr.key(100 + seed)
        drawn = {
            "truth": p.sample(key, N).n,
            "Connector": mean + np.asarray(jr.normal(key, mean.shape)),
            "LINT": trained.networks[seed].n,
        }
        for name, n in drawn.items():
            counts[name].append(lr.clusters.fit(np.asarray(n), key=key).count)
    for name, one in counts.items():
        print(f"clusters of {name}: {one.count(4)} of {seeds} seeds have four; {one}", flush=True)


if __name__ == "__main__":
    which, *numbers = sys.argv[1:] if sys.argv[1:2] == ["matrix"] else ["clusters", *sys.argv[1:]]
    {"matrix": matrix, "clusters": clusters}[which](*map(int, numbers))
