"""Time what a user waits for, on this machine: `make bench` prints a row for the table in
benchmarks/README.md.
"""

import resource
import time

import jax
import jax.random as jr
import numpy as np

import lrcore as lr

ALPHA = lr.systems.ALPHA


def timed(call):
    """Seconds of one call, and what it returned."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return time.perf_counter() - start, result


def main():
    truth = lr.systems.quadstable()
    network = truth.sample(jr.key(0), 1000)
    steps = lr.steps(lr.systems.trajectories(network), alpha=ALPHA)

    def fit(key):
        return lr.Connector.fit(steps, network.embedding, key=jr.key(key), progress=False)

    cold, found = timed(lambda: fit(1))
    warm, _ = timed(lambda: fit(2))
    closed, _ = timed(lambda: lr.maxent.fit(steps, network.embedding))

    samples, held_out = truth.sample(jr.key(3), 20_000).m, truth.sample(jr.key(4), 4000).m
    training, (flow, _) = timed(lambda: lr.Flow.fit(samples, key=jr.key(5), progress=False))
    nats = float(np.abs(flow.log_prob(held_out) - truth.embedding_log_prob(held_out)).mean())

    starts = jr.uniform(jr.key(6), (1000, 2), minval=-2.4, maxval=2.4)
    long = network.simulate(starts, None, ALPHA, 1000, noise=0.05, key=jr.key(7))
    long = lr.steps(long, alpha=ALPHA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    million, _ = timed(lambda: lr.maxent.fit(long, network.embedding))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20

    error = float(
        np.mean((found.conditional_mean(network.embedding) - truth.conditional_mean(network.embedding)) ** 2)
    )
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {device.platform} ({device.device_kind})")
    print(
        f"Connector.fit, 400 x 100 steps, 1,000 neurons: first {cold:.1f} s, again {warm:.1f} s (g error "
        f"{error:.3f})"
    )
    print(f"maxent.fit, the same data: {closed:.1f} s")
    print(f"Flow.fit, 20,000 samples: {training:.1f} s, {nats:.3f} nats off")
    print(f"maxent.fit, 1,000,000 steps: {million:.0f} s, {memory:.2f} GB more at the peak")


if __name__ == "__main__":
    main()
