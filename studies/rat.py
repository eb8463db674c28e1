"""Everything that the book says of the published rat sessions: `python benchmarks/rat.py` writes book/results/rat.json.

Needs the four sessions (`lr.datasets.rat_session` finds or downloads them). Each part is written as soon as it is there and is not
computed again: delete the file to begin anew. Named parts can be computed side by side. About an hour on two processor cores.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.stats

import lrcore as lr

FILE = Path(__file__).parents[1] / "book" / "results" / "rat.json"
# Folds, and nuisance dimensions: of X087 and T223 those of the best `inner` score.
SESSIONS = {
    "T176_2018_05_03": (5, 2),
    "T176_2018_05_15": (5, 2),
    "X087_2021_08_03": (1, 4),
    "T223_2019_12_17": (1, 3),
}
# The ridge is the largest of 0.01, 0.1, 0.3 and 1 that costs hardly any prediction from clicks; see README.md.
OPTIONS = {"nuisance": 2, "lag": 4, "ridge": 0.1, "progress": False}
# Relative error of the drift: of the recorded neurons' network, and of the distribution.
TOLERANCE, WIDE = 0.05, 0.2
SEEDS = 10
CONTROLS = ("linear", "bistable", "shuffled")


def network_of(fit, key):
    """The network that the drift requires, in the model's coordinates, and the draws it was fitted to."""
    draws = fit.draws(key)
    solved = lr.maxent.fit(embedding=fit.embedding(), tolerance=TOLERANCE, **draws)
    return solved, draws


def steps(draws, copies=1):
    """States and inputs of all valid steps (state, rank), (state, input)."""
    trials = len(draws["lengths"]) // draws["copies"] * copies
    inside = lr.Recording.mask_of(draws["lengths"][:trials] - 1, draws["drift"].shape[1])
    z, u = (np.asarray(draws[name][:trials, :-1])[inside] for name in ("latents", "inputs"))
    return jnp.asarray(z, jnp.float32), jnp.asarray(u, jnp.float32)


def fixed(drift, z):
    """Fixed points without input where the recording went."""
    starts = z[:: max(1, len(z) // 81)]
    return lr.flowfield.fixed_points(drift, starts, visited=z[::5])


def listed(points):
    return [[*map(float, p.round(3)), bool(s)] for p, s in zip(points.points, points.stable, strict=True)]


def choice_axes(fit):
    """Rotation (rank, rank) that puts the difference between the choices at the end of a trial on the first axis."""
    z, recording = np.asarray(fit.latents.z), fit.recording
    ends = z[np.arange(len(z)), recording.lengths - 1]
    first = ends[recording.choices == 1].mean(axis=0) - ends[recording.choices == 0].mean(axis=0)
    first /= np.linalg.norm(first)
    return np.array([first, [-first[1], first[0]]])


def inner(recording):
    """Co-smoothing with 2, 3 and 4 nuisance dimensions."""
    scores = {}
    for count in (2, 3, 4):
        found = lr.heldout.evaluate(recording, 2, key=jr.key(0), only=[0], **OPTIONS | {"nuisance": count})
        scores[count] = float(found.scores["neurons"][0])
    return scores


def session(name, folds, nuisance):
    """Scores of all folds, baselines, networks, fixed points and flows."""
    recording = lr.datasets.rat_session(name)
    options = OPTIONS | {"nuisance": nuisance}
    began = time.perf_counter()
    found = lr.heldout.evaluate(recording, 2, key=jr.key(0), only=range(folds), **options)
    seconds = time.perf_counter() - began
    result = {
        "trials": recording.n_trials,
        "neurons": recording.n_neurons,
        "seconds": seconds,
        "nuisance": nuisance,
        "inner": inner(recording.trials(found.folds[0].train)) if folds == 1 else None,
        "scores": {key: list(map(float, value)) for key, value in found.scores.items()},
        "psth": list(map(float, found.psth)),
    }
    rows, networks, first = [], [], None
    for fold in found.folds:
        row, network, z = connect(recording, fold, first is None)
        axes = (
            choice_axes(fold.fit) if first is None else lr.gauge.alignment(network, first, rotation_only=True)
        )
        turned = lr.gauge.transform(network, axes)
        first = turned if first is None else first
        z = z @ jnp.asarray(axes, jnp.float32).T
        points = fixed(turned.drift, z)
        # The same of the drift that found the latents, which the network stands for.
        model = fixed(lr.gauge.transform_drift(fold.fit.model.drift, axes), z)
        row |= {"points": listed(points), "decides": bool(lr.flowfield.decides(points))}
        row |= {"model_points": listed(model), "model_decides": bool(lr.flowfield.decides(model))}
        rows.append(row)
        networks.append(turned)
    result["folds"] = rows
    if folds > 1:
        pairs = [
            lr.flowfield.agreement(a.drift, b.drift, z[::3]).cosine
            for k, a in enumerate(networks)
            for b in networks[:k]
        ]
        result["flow_cosine"] = float(np.mean(pairs))
        result["flow_cosine_least"] = float(np.min(pairs))
    result["m"], result["n"], result["b"], result["d"] = (
        np.asarray(part).round(4).tolist() for part in (first.m, first.n, first.b, first.d)
    )
    result |= course(found.folds[0], networks[0], choice_axes(found.folds[0].fit))
    if name.startswith("T176_2018_05_03"):
        plain = lr.heldout.evaluate(recording, 2, key=jr.key(0), only=[0], **(OPTIONS | {"nuisance": 0}))
        result["plain"] = float(plain.scores["neurons"][0])
    return result


def connect(recording, fold, first):
    """Baselines of one fold; its network, and what is lost when the network is put back as the drift."""
    train, test = fold.train, recording.trials(fold.test)
    mean = recording.trials(train).mean_rates * recording.bin_width
    level = lr.baseline.fit(recording, train=train)
    clicks = lr.baseline.click_history(recording.inputs, recording.bin_width)
    row = {"glm": bits(test, lr.baseline.regress(recording, level, clicks, train=train)[fold.test], mean)}
    for rank in (2, 6) if first else ():
        row[f"factors_{rank}"] = bits(test, factor_analysis(recording, level, train, rank)[fold.test], mean)
    solved, draws = network_of(fold.fit, jr.key(1))
    network = solved.network()
    z, u = steps(draws)
    agreement = lr.flowfield.agreement(network.drift, fold.fit.model.drift, z, u)
    back = fold.fit.with_network(network)
    nobody = np.zeros(recording.n_neurons, bool)
    row |= {
        "r2": agreement.r2,
        "slope": agreement.slope,
        "back": bits(test, lr.heldout.co_smoothing(back, test, fold.level), mean),
        "back_inputs": bits(
            test, lr.latents.infer(back, test, baseline=fold.level, neurons=nobody).rates(), mean
        ),
        "rms_n": float(np.sqrt(np.mean(solved.n**2))),
    }
    if first:
        wide, judged = population(fold.fit, draws)
        row |= judged
        back = fold.fit.with_network(wide)
        row["back_wide"] = bits(test, lr.heldout.co_smoothing(back, test, fold.level), mean)
        report = lr.identifiability.report(
            z,
            fold.fit.embedding(),
            inputs=u,
            noise=float(np.sqrt(solved.held_out.min())),
            size=row["wide_rms"],
        )
        row |= {"modes": report.modes, "partly": report.partly, "df": report.degrees_of_freedom}
    naive = lr.maxent.fit(
        fold.fit.latents.z,
        fold.fit.embedding(),
        inputs=fold.fit.latents.inputs,
        lengths=fold.fit.recording.lengths,
        alpha=draws["alpha"],
        tolerance=TOLERANCE,
    ).network()
    plain = lr.flowfield.agreement(naive.drift, fold.fit.model.drift, z, u)
    row |= {"naive_r2": plain.r2, "naive_slope": plain.slope, "naive_points": listed(fixed(naive.drift, z))}
    return row, network, z


def population(fit, draws, neurons=1000, fresh=8000):
    """The distribution of connectivities, solved on neurons drawn from p(e) and judged on others; before it, the recorded network."""
    z, u = (x[::40] for x in steps(draws))
    options = {"key": jr.key(5), "steps": 400, "tolerance": WIDE, "progress": False}
    first = lr.Connector.fit(embedding=fit.embedding(), **draws, **options)
    wide = first.maxent.network()
    agreement = lr.flowfield.agreement(wide.drift, fit.model.drift, z, u)
    result = {"wide_rms": float(np.sqrt(np.mean(first.maxent.n**2)))}
    result |= {f"wide_{k}": v for k, v in agreement._asdict().items()}
    drawn = first.sample(jr.key(6), neurons).embedding
    found = lr.Connector.fit(embedding=drawn, **draws, **options)
    others = found.sample(jr.key(7), fresh, sigma=0.0)
    agreement = lr.flowfield.agreement(others.drift, fit.model.drift, z, u)
    result |= {f"fresh_{k}": v for k, v in agreement._asdict().items()}
    result["fresh_rms"] = float(np.sqrt(np.mean(np.asarray(others.n) ** 2)))
    return wide, result


def factor_analysis(recording, level, train, rank):
    """Co-smoothing by factor analysis of the other neurons and a regression on its latents; best of three widths."""
    best = None
    for width in (0.05, 0.1, 0.2):
        expected = np.empty(recording.spikes.shape, np.float32)
        group = np.arange(recording.n_neurons) % 4
        for k in range(4):
            others = recording.select_neurons(group != k)
            z = lr.factors.start(others, rank, level[:, :, group != k], width=width)
            some = recording.select_neurons(group == k)
            expected[:, :, group == k] = lr.baseline.regress(some, level[:, :, group == k], z, train=train)
        mean = recording.trials(train).mean_rates * recording.bin_width
        # The width is chosen on the training trials.
        value = bits(recording.trials(train), expected[train], mean)
        if best is None or value > best[0]:
            best = (value, expected)
    return best[1]


def bits(recording, expected, mean):
    return lr.heldout.bits_per_spike(recording, expected, mean)


def course(fold, network, axes):
    """Mean speed of the flow without input and of what inputs add, by time, along the posterior means of the training trials."""
    latents = fold.fit.latents
    inside = np.asarray(latents.mask)
    z = np.asarray(latents.z) @ axes.T
    u = np.asarray(latents.inputs)
    flat, inputs = jnp.asarray(z[inside], jnp.float32), jnp.asarray(u[inside], jnp.float32)
    own = np.asarray(network.drift(flat)) - np.asarray(flat)
    driven = np.asarray(network.drift(flat, inputs)) - np.asarray(network.drift(flat))
    when = np.broadcast_to(np.arange(inside.shape[1]), inside.shape)[inside]
    longest = int(np.quantile(latents.lengths, 0.5))
    means = [
        [float(np.linalg.norm(part[when == t], axis=1).mean()) for t in range(longest)]
        for part in (own, driven)
    ]
    late = when >= longest // 2
    directions = [
        np.linalg.svd(part[late], full_matrices=False)[2][0]
        for part in (own - own[late].mean(axis=0), driven)
    ]
    choices = fold.fit.recording.choices
    paths = [
        np.nanmean(np.where(inside[..., None], z, np.nan)[choices == c, :longest], axis=0).round(3).tolist()
        for c in (0, 1)
    ]
    return {
        "own": means[0],
        "driven": means[1],
        "direction_cosine": float(abs(directions[0] @ directions[1])),
        "paths": paths,
    }


def control(name):
    """Surrogates with a linear truth or a bistable one; shuffled trials."""
    recording = lr.datasets.rat_session("T176_2018_05_03")
    if name == "shuffled":
        return shuffled(recording)
    level = lr.baseline.fit(recording)
    fit = lr.latents.fit(recording, 2, key=jr.key(0), baseline=level, **OPTIONS)
    network = network_of(fit, jr.key(1))[0].network()
    axes = choice_axes(fit)
    if name == "linear":
        drift = lr.controls.linear(fit, jr.key(2))
    else:
        drift, _ = lr.controls.bistable(fit, jr.key(2))
    rows = []
    for seed in range(SEEDS):
        data, truth = lr.controls.surrogate(fit, jr.key(seed), drift=drift)
        again = lr.latents.fit(data, 2, key=jr.key(seed), baseline=level, **OPTIONS)
        found = network_of(again, jr.key(3))[0].network()
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
    mixed = lr.controls.shuffled(recording, jr.key(0))
    found = lr.heldout.evaluate(mixed, 2, key=jr.key(0), only=[0], **OPTIONS)
    solved, draws = network_of(found.folds[0].fit, jr.key(1))
    points = fixed(solved.network().drift, steps(draws)[0])
    result = {key: float(value[0]) for key, value in found.scores.items()}
    return result | {"points": listed(points), "decides": bool(lr.flowfield.decides(points))}


def twin(keys=4, replicates=8, trials=200):
    """The synthetic twin, where the network is known: errors, and how often intervals from a parametric bootstrap hold the truth."""
    options = {"iterations": 90, "progress": False}
    rows = []
    for one in range(keys):
        known = lr.datasets.clicks_session(jr.key(one), n_trials=trials)
        mask, network = known.recording.mask, known.network
        truth, clicks = known.latents[mask], known.recording.inputs[mask]
        centre = truth.mean(axis=0)
        fit = lr.latents.fit(known.recording, 2, key=jr.key(100 + one), **options)
        found = network_of(fit, jr.key(1))[0].network()
        gauge = lr.gauge.alignment(found, network)
        states, inputs = jnp.asarray(truth[::25], jnp.float32), jnp.asarray(clicks[::25], jnp.float32)

        def judged(drift, states=states, network=network, inputs=inputs):
            """Velocities without input (state, rank), Jacobian at the mean state, fixed points, agreement with the truth."""
            jacobian = jax.jacfwd(lambda z: drift(z[None])[0])(states.mean(axis=0))
            agreement = lr.flowfield.agreement(drift, network.drift, states, inputs)
            return np.asarray(drift(states)), np.asarray(jacobian), fixed(drift, states), agreement

        true = judged(network.drift)
        ours = judged(lr.gauge.transform_drift(found.drift, gauge, centre))
        again = []
        for seed in range(replicates):
            data, path = lr.controls.surrogate(fit, jr.key(seed), drift=found.drift)
            new = network_of(lr.latents.fit(data, 2, key=jr.key(seed), **options), jr.key(2))[0].network()
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
    """Shares of 95 % intervals (t, from the replicates' spread) that hold the truth: around the estimate; with its bias taken off."""
    count = len(replicates)
    wide = scipy.stats.t.ppf(0.975, count - 1) * np.sqrt(1 + 1 / count) * replicates.std(axis=0, ddof=1)
    bias = replicates.mean(axis=0) - ours
    return {
        "plain": float(np.mean(np.abs(ours - truth) < wide)),
        "corrected": float(np.mean(np.abs(ours - bias - truth) < wide)),
        "width": float(np.mean(wide)),
        "error": float(np.sqrt(np.mean((ours - truth) ** 2))),
    }


def main():
    warnings.simplefilter("ignore", UserWarning)
    FILE.parent.mkdir(exist_ok=True)
    for name in sys.argv[1:] or [*SESSIONS, *CONTROLS, "twin"]:
        kind = "sessions" if name in SESSIONS else "controls" if name in CONTROLS else name
        held = read()
        if name in (held if kind == name else held.get(kind, {})):
            continue
        part = (
            session(name, *SESSIONS[name])
            if name in SESSIONS
            else control(name)
            if name in CONTROLS
            else twin()
        )
        # Another process may have written meanwhile.
        held = read()
        if kind == name:
            held[name] = part
        else:
            there = held.get(kind, {}) | {name: part}
            held[kind] = {one: there[one] for one in (*SESSIONS, *CONTROLS) if one in there}
        FILE.write_text(json.dumps(held) + "\n")
        print(name, "written", flush=True)


def read():
    """What there is so far."""
    held = json.loads(FILE.read_text()) if FILE.exists() else {"command": "python benchmarks/rat.py"}
    return held | {"versions": {"lrcore": "0.1.0", "jax": jax.__version__}}


if __name__ == "__main__":
    main()
