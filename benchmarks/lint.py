"""LINT on the quadstable recording: time of one fit and of 20 seeds at once, and clusters of n over seeds.

`python benchmarks/lint.py matrix` trains one network on each system and compares sorted weights with those of the four truths.

Arguments: epochs (1,000) and seeds (20). Each epoch costs the same: the time of 1,000 is carried on from fewer by the
difference to a fit a fifth as long. Compilation is paid once and printed apart.
"""

import os
import sys
import time

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
    """Rows: networks trained on each system's rates; columns: the networks that made the rates. Relative to the largest entry."""
    truth = [make().sample(jr.key(k), N) for k, make in enumerate(lr.systems.SYSTEMS.values())]
    rows = []
    for net in truth:
        trained = lr.lint.fit(recorded(net), 2, alpha=ALPHA, key=jr.key(1), epochs=epochs, progress=False)
        rows.append([lr.compare.lint_dissimilarity(trained.networks[0], other) for other in truth])
    rows = np.array(rows)
    print((rows / rows.max()).round(2))


def main(epochs: int = 1000, seeds: int = 20):
    p = lr.systems.quadstable()
    recording = recorded(p.sample(jr.key(0), N))

    compiling = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiling.append(seconds) if "backend_compile" in name else None
    )

    def timed(seeds, epochs):
        compiling.clear()
        start = time.perf_counter()
        options = {"seeds": seeds, "epochs": epochs, "progress": False}
        done = lr.lint.fit(recording, 2, alpha=ALPHA, key=jr.key(1), **options)
        return time.perf_counter() - start - sum(compiling), sum(compiling), done

    def train(seeds):
        short = epochs // 5
        before, *_ = timed(seeds, short)
        after, compiled, done = timed(seeds, epochs)
        return after + (after - before) / (epochs - short) * (1000 - epochs), compiled, done

    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    one, one_compiled, _ = train(1)
    many, many_compiled, trained = train(seeds)
    left = trained.error / np.var(recording.rates)
    print(
        f"jax {jax.__version__} on {jax.devices()[0].platform}, {cores} cores, load {load:.1f} before; {N} neurons, "
        f"{TRIALS} trials, {epochs} epochs, carried on to 1,000"
    )
    print(
        f"one fit {one:.0f} s, {seeds} seeds {many:.0f} s: {many / one:.1f} times; "
        f"compiled in {one_compiled:.1f} and {many_compiled:.1f} s",
        flush=True,
    )
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
    if sys.argv[1:2] == ["matrix"]:
        matrix(*map(int, sys.argv[2:]))
    else:
        main(*map(int, sys.argv[1:]))
