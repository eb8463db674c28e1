"""Controls of the rat sessions: surrogates with a known drift, shuffled trials, and the twin whose network is
known.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.stats
from analysis import OPTIONS, choice_axes, fixed, listed, network_of, visited

import lrcore as lr

SEEDS = 10
CONTROLS = ("linear", "bistable", "shuffled")


def control(name):
    """Surrogates with a linear truth or a bistable one; shuffled trials."""
    recording = lr.recording.rat_session("T176_2018_05_03")
    if name == "shuffled":
        return shuffled(recording)
    level = lr.latents.baseline.fit(recording)
    fit = lr.latents.fit(recording, 2, key=jr.key(0), baseline=level, **OPTIONS)
    network = network_of(fit, jr.key(1)).network()
    axes = choice_axes(fit)
    if name == "linear":
        drift = lr.latents.surrogates.linear(fit, jr.key(2))
    else:
        drift, _ = lr.latents.surrogates.bistable(fit, jr.key(2))
    rows = []
    for seed in range(SEEDS):
        data, truth = lr.latents.surrogates.surrogate(fit, jr.key(seed), drift=drift)
        again = lr.latents.fit(data, 2, key=jr.key(seed), baseline=level, **OPTIONS)
        found = network_of(again, jr.key(3)).network()
        # In the coordinates of the truth, its choice axis first.
        inside = truth[data.mask]
        gauge, centre = axes @ lr.gauge.alignment(found, network), inside.mean(axis=0) @ axes.T
        back = lr.gauge.transform_drift(found.drift, gauge, centre)
        known = lr.gauge.transform_drift(drift, axes)
        z = jnp.asarray(inside[::10] @ axes.T, jnp.float32)
        points, true = fixed(back, z), fixed(known, z)
        agreement = lr.flowfield.agreement(back, known, z[::2], jnp.zeros((len(z[::2]), 2)))
        rows.append({"points": listed(points), "decides": bool(lr.flowfield.decides(points))})
        rows[-1] |= {"truth": listed(true), "truth_decides": bool(lr.flowfield.decides(true))}
        rows[-1] |= agreement._asdict()
        print(name, seed, rows[-1], flush=True)
    return rows


def shuffled(recording):
    """Scores and fixed points of trials put together from neurons of different trials."""
    mixed = lr.latents.surrogates.shuffled(recording, jr.key(0))
    found = lr.latents.heldout.evaluate(mixed, 2, key=jr.key(0), only=[0], **OPTIONS)
    solved = network_of(found.folds[0].fit, jr.key(1))
    points = fixed(solved.network().drift, visited(solved.steps)[0])
    result = {key: float(value[0]) for key, value in found.scores.items()}
    return result | {"points": listed(points), "decides": bool(lr.flowfield.decides(points))}


def twin(keys=4, replicates=8, trials=200):
    """The synthetic twin, where the network is known: errors, and how often intervals from a parametric
    bootstrap hold the truth.
    """
    options = {"iterations": 90, "progress": False}
    rows = []
    for one in range(keys):
        known = lr.recording.clicks_session(jr.key(one), n_trials=trials)
        mask, network = known.recording.mask, known.network
        truth, clicks = known.latents[mask], known.recording.inputs[mask]
        centre = truth.mean(axis=0)
        fit = lr.latents.fit(known.recording, 2, key=jr.key(100 + one), **options)
        found = network_of(fit, jr.key(1)).network()
        gauge = lr.gauge.alignment(found, network)
        states, inputs = jnp.asarray(truth[::25], jnp.float32), jnp.asarray(clicks[::25], jnp.float32)

        def judged(drift, states=states, network=network, inputs=inputs):
            """Velocities without input (state, rank), Jacobian at the mean state, fixed points, agreement
            with the truth.
            """
            jacobian = jax.jacfwd(lambda z: drift(z[None])[0])(states.mean(axis=0))
            agreement = lr.flowfield.agreement(drift, network.drift, states, inputs)
            return np.asarray(drift(states)), np.asarray(jacobian), fixed(drift, states), agreement

        true = judged(network.drift)
        ours = judged(lr.gauge.transform_drift(found.drift, gauge, centre))
        again = []
        for seed in range(replicates):
            data, path = lr.latents.surrogates.surrogate(fit, jr.key(seed), drift=found.drift)
            new = network_of(lr.latents.fit(data, 2, key=jr.key(seed), **options), jr.key(2)).network()
            back = lr.gauge.transform_drift(
                new.drift, lr.gauge.alignment(new, found), path[mask].mean(axis=0)
            )
            again.append(judged(lr.gauge.transform_drift(back, gauge, centre)))
        row = {
            "truth": listed(true[2]),
            "points": listed(ours[2]),
            "replicates": [listed(x[2]) for x in again],
        }
        row |= {"decides": bool(lr.flowfield.decides(ours[2]))} | ours[3]._asdict()
        for k, name in enumerate(("flow", "jacobian")):
            covered = intervals(ours[k], np.array([x[k] for x in again]), true[k])
            row |= {f"{name}_{part}": value for part, value in covered.items()}
        carried = lr.gauge.transform(found, gauge)
        row["same"] = {
            part: [float(np.corrcoef(x, y)[0, 1]) for x, y in zip(*pair, strict=True)]
            for part, pair in {
                part: (np.asarray(getattr(carried, part)).T, np.asarray(getattr(network, part)).T)
                for part in ("m", "n", "b")
            }.items()
        }
        row["same"]["d"] = [float(np.corrcoef(carried.d, network.d)[0, 1])]
        print(one, row, flush=True)
        rows.append(row)
    return rows


def intervals(ours, replicates, truth):
    """Shares of 95 % intervals (t, from the replicates' spread) that hold the truth: around the estimate;
    with its bias taken off.
    """
    count = len(replicates)
    wide = scipy.stats.t.ppf(0.975, count - 1) * np.sqrt(1 + 1 / count) * replicates.std(axis=0, ddof=1)
    bias = replicates.mean(axis=0) - ours
    return {
        "plain": float(np.mean(np.abs(ours - truth) < wide)),
        "corrected": float(np.mean(np.abs(ours - bias - truth) < wide)),
        "width": float(np.mean(wide)),
        "error": float(np.sqrt(np.mean((ours - truth) ** 2))),
    }
