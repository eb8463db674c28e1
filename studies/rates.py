"""How well connectivity is inferred from rates and spikes alone: prints the rows of the table in
studies/README.md.
"""

import sys
import time

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import lrcore as lr

ALPHA = lr.systems.ALPHA
N, POINTS = 1000, 20
MEAN_COUNT = 0.1  # 10 Hz in bins of 10 ms
# The states have no noise, and EM takes long to find that out.
ITERATIONS = 160


def above(h):
    """Rate over its mean: it is positive, and 1 at a potential of 0."""
    return 1 + jnp.tanh(h)


def estimates(net, z):
    """Label and fit of each way from what was recorded to a conditional mean."""
    rates = np.asarray(net.rates(z))
    rng = np.random.default_rng(0)
    seen = lr.latents.from_rates(lr.Recording(rates=rates, bin_width=0.01), 2, activation="tanh")
    yield "clean rates", lr.maxent.fit(seen.steps(), seen.embedding)

    noise = rates.std(axis=(0, 1)) * rng.normal(size=rates.shape)
    noisy = lr.Recording(rates=(rates + noise).astype(np.float32), bin_width=0.01)
    seen = lr.latents.from_rates(noisy, 2, activation="tanh", noisy=True)
    yield "noisy rates, one estimate", lr.maxent.fit(seen.steps(), seen.embedding)
    both = lr.latents.halves(noisy, seen, key=jr.key(1))
    yield "noisy rates, two halves", lr.maxent.fit(both, seen.embedding)

    spikes = lr.Recording(spikes=rng.poisson(MEAN_COUNT * (1 + rates)), bin_width=0.01)
    found = lr.latents.fit(
        spikes,
        2,
        key=jr.key(2),
        alpha=ALPHA,
        activation=above,
        bias=False,
        baseline=np.full(N, MEAN_COUNT),
        same_start=False,
        iterations=ITERATIONS,
        progress=False,
    )
    means = np.asarray(found.latents.z)
    smooth = np.asarray(lr.latents.smooth(spikes, 2).z)
    change = np.linalg.lstsq(smooth.reshape(-1, 2), means.reshape(-1, 2), rcond=None)[0]
    neurons = found.latents.embedding
    yield "spikes, smoothed counts", lr.maxent.fit(lr.steps(smooth @ change, alpha=ALPHA), neurons)
    yield "spikes, posterior means", lr.maxent.fit(lr.steps(means, alpha=ALPHA), neurons)
    yield "spikes, posterior draws", lr.maxent.fit(found.steps(jr.key(3), 2), neurons)


def errors(fit, net, p):
    """Mean square error of g, and the drift's RMSE with the recorded neurons and with fresh ones, as the
    truth has it.
    """
    own = fit.network()
    change = lr.gauge.alignment(own, net)
    flow, _ = lr.Flow.fit(np.asarray(own.m), key=jr.key(4), updates=600, progress=False)
    m = flow.sample(jr.key(5), N)
    fresh = lr.LowRankNetwork(m, fit.conditional_mean(m))
    n = np.asarray(lr.gauge.transform(own, change).n)
    drifts = [
        float(lr.flowfield.drift_error(lr.gauge.transform(one, change).drift, net.drift, lr.systems.grid(20)))
        for one in (own, fresh)
    ]
    return float(np.mean((n - np.asarray(p.conditional_mean(net.embedding))) ** 2)), *drifts


def main(names):
    print(
        "| recorded, estimate | system | error of g | drift RMSE, recorded neurons | drift RMSE, fresh "
        "neurons |"
    )
    print("|---|---|---|---|---|", flush=True)
    for name in names:
        p = lr.systems.SYSTEMS[name]()
        net = p.sample(jr.key(0), N)
        start = time.perf_counter()
        for label, fit in estimates(net, lr.systems.trajectories(net, points=POINTS)):
            g, own, fresh = errors(fit, net, p)
            print(f"| {label} | {name} | {g:.3g} | {own:.4f} | {fresh:.3f} |", flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(lr.systems.SYSTEMS))
