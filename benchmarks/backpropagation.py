"""Time of training by backpropagation on the quadstable recording: one network, and 20 seeds at once.

Arguments: epochs (1,000) and seeds (20). Each epoch costs the same: the time of 1,000 is carried on from
fewer by the difference to a fit a fifth as long. Compilation is paid once and printed apart.
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


def main(epochs: int = 1000, seeds: int = 20):
    recording = recorded(lr.systems.quadstable().sample(jr.key(0), N))

    compiling = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiling.append(seconds) if "backend_compile" in name else None
    )

    def timed(seeds, epochs):
        compiling.clear()
        start = time.perf_counter()
        options = {"seeds": seeds, "epochs": epochs, "progress": False}
        done = lr.training.on_recording(recording, 2, alpha=ALPHA, key=jr.key(1), **options)
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
        f"jax {jax.__version__} on {jax.devices()[0].platform}, {cores} cores, load {load:.1f} before; {N} "
        f"neurons, {TRIALS} trials, {epochs} epochs, carried on to 1,000"
    )
    print(
        f"one fit {one:.0f} s, {seeds} seeds {many:.0f} s: {many / one:.1f} times; "
        f"compiled in {one_compiled:.1f} and {many_compiled:.1f} s",
        flush=True,
    )
    print(f"variance of the rates left: {left.min():.2g} to {left.max():.2g}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
