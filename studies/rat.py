"""Everything that the book says of the published rat sessions: `python studies/rat.py` writes
book/results/rat.json.

Needs the four sessions (`lr.recording.rat_session` finds or downloads them); `survey` takes every session of
the folder that LRCORE_DATA names. What is done stands in _build/rat and in the file, and is not computed
again: delete both to begin anew. Named parts are computed alone.
"""

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from analysis import OPTIONS, choice_axes, coarse_ridge, fixed, listed, network_of, visited
from surrogates import CONTROLS, control, twin

import lrcore as lr

ROOT = Path(__file__).parents[1]
FILE, FOLDER = ROOT / "book" / "results" / "rat.json", ROOT / "_build" / "rat"
# Folds, and nuisance dimensions: of X087 and T223 those of the best `inner` score.
SESSIONS = {
    "T176_2018_05_03": (5, 2),
    "T176_2018_05_15": (5, 2),
    "X087_2021_08_03": (1, 4),
    "T223_2019_12_17": (1, 3),
}


def inner(recording):
    """Co-smoothing with 2, 3 and 4 nuisance dimensions."""
    scores = {}
    for count in (2, 3, 4):
        found = lr.latents.heldout.evaluate(
            recording, 2, key=jr.key(0), only=[0], **OPTIONS | {"nuisance": count}
        )
        scores[count] = float(found.scores["neurons"][0])
    return scores


def session(name, folds, nuisance):
    """Scores of all folds, baselines, networks, fixed points and flows."""
    recording = lr.recording.rat_session(name)
    options = OPTIONS | {"nuisance": nuisance}
    began = time.perf_counter()
    found = lr.latents.heldout.evaluate(recording, 2, key=jr.key(0), only=range(folds), **options)
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
        plain = lr.latents.heldout.evaluate(
            recording, 2, key=jr.key(0), only=[0], **(OPTIONS | {"nuisance": 0})
        )
        result["plain"] = float(plain.scores["neurons"][0])
    return result


def connect(recording, fold, first):
    """Baselines of one fold; its network, and what is lost when the network is put back as the drift."""
    train, test = fold.train, recording.trials(fold.test)
    mean = recording.trials(train).mean_rates * recording.bin_width
    level = lr.latents.baseline.fit(recording, train=train)
    clicks = lr.latents.baseline.click_history(recording.inputs, recording.bin_width)
    row = {
        "glm": bits(test, lr.latents.baseline.regress(recording, level, clicks, train=train)[fold.test], mean)
    }
    for rank in (2, 6) if first else ():
        row[f"factors_{rank}"] = bits(test, factor_analysis(recording, level, train, rank)[fold.test], mean)
    solved = network_of(fold.fit, jr.key(1))
    network = solved.network()
    z, u = visited(solved.steps)
    agreement = lr.flowfield.agreement(network.drift, fold.fit.model.drift, z, u)
    back = fold.fit.with_network(network)
    nobody = np.zeros(recording.n_neurons, bool)
    row |= {
        "r2": agreement.r2,
        "slope": agreement.slope,
        "back": bits(test, lr.latents.heldout.co_smoothing(back, test, fold.level), mean),
        "back_inputs": bits(
            test, lr.latents.infer(back, test, baseline=fold.level, neurons=nobody).rates(), mean
        ),
        "rms_n": float(np.sqrt(np.mean(solved.n**2))),
    }
    if first:
        coarse, judged = population(fold.fit, solved)
        row |= judged | identified(solved)
        back = fold.fit.with_network(coarse)
        row["back_coarse"] = bits(test, lr.latents.heldout.co_smoothing(back, test, fold.level), mean)
    means = fold.fit.latents.steps(inputs=True)
    naive = lr.maxent.fit(means, fold.fit.embedding()).network()
    plain = lr.flowfield.agreement(naive.drift, fold.fit.model.drift, z, u)
    row |= {"naive_r2": plain.r2, "naive_slope": plain.slope, "naive_points": listed(fixed(naive.drift, z))}
    return row, network, z


def evidence():
    """The first fold of two sessions, its network by marginal likelihood, and what is known of other
    neurons.
    """
    rows = {}
    for name in ("T176_2018_05_03", "T223_2019_12_17"):
        rows[name] = session(name, 1, SESSIONS[name][1])["folds"][0]
    return rows


def identified(solved):
    """What of the connectivity is known: the report, and what a new population is expected to miss."""
    report = lr.identifiability.report(solved, taus=())
    law, network = solved.evidence.degrees_of_freedom(solved.modes)
    result = {"modes": report.modes, "partly": report.partly, "counts": list(report.counts)}
    result |= {"law": law, "network": network, "independent": report.steps, "noise": report.noise}
    result |= {"deviation": solved.deviation, "interval": list(solved.interval())}
    return result | {"error": solved.error, "drift_error": solved.drift_error}


def population(fit, solved, neurons=1000, fresh=8000):
    """Other neurons: with the mean of n, and drawn together; with a coarse law, solved on neurons drawn from
    p(e). Before what it says of them, the recorded network of that law.
    """
    z, u = (x[::40] for x in visited(solved.steps))
    steps, embedding, options = solved.steps, solved.embedding, {"key": jr.key(5), "updates": 400}
    options |= {"conditional": False, "progress": False}
    found, ridge = lr.Connector.fit(steps, embedding, **options), coarse_ridge(solved)
    coarse = lr.maxent.fit(steps, embedding, ridge=ridge).network()
    drawn = found.sample(jr.key(6), neurons).embedding
    # The same strength in function space, whatever the number of neurons.
    wide = lr.Connector.fit(steps, drawn, ridge=ridge * embedding.n_neurons / neurons, **options)
    others = wide.sample(jr.key(7), fresh, sigma=0.0)
    networks = {"mean": found.sample(jr.key(7), fresh, sigma=0.0), "coarse": coarse, "fresh": others}
    networks["together"] = found.posterior(jr.key(8), neurons)
    result = {"coarse_ridge": ridge, "density": found.population.kind}
    for name, one in networks.items():
        agreement = lr.flowfield.agreement(one.drift, fit.model.drift, z, u)
        result |= {f"{name}_{k}": float(v) for k, v in agreement._asdict().items()}
        result[f"{name}_rms"] = float(np.sqrt(np.mean(np.asarray(one.n) ** 2)))
    return coarse, result


def factor_analysis(recording, level, train, rank):
    """Co-smoothing by factor analysis of the other neurons and a regression on its latents; best of three
    widths.
    """
    best = None
    for width in (0.05, 0.1, 0.2):
        expected = np.empty(recording.spikes.shape, np.float32)
        group = lr.recording.duplicates.groups(recording.signal, recording.lengths) % 4
        for k in range(4):
            others = recording.select_neurons(group != k)
            z = lr.latents.white_factors(others, rank, level[:, :, group != k], width=width)
            some = recording.select_neurons(group == k)
            expected[:, :, group == k] = lr.latents.baseline.regress(
                some, level[:, :, group == k], z, train=train
            )
        mean = recording.trials(train).mean_rates * recording.bin_width
        # The width is chosen on the training trials.
        value = bits(recording.trials(train), expected[train], mean)
        if best is None or value > best[0]:
            best = (value, expected)
    return best[1]


def bits(recording, expected, mean):
    return lr.latents.heldout.bits_per_spike(recording, expected, mean)


def course(fold, network, axes):
    """Mean speed of the flow without input and of what inputs add, by time, along the posterior means of the
    training trials.
    """
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


def survey(session, key):
    """Of one session: scores of the first fold, and the flow without input where trials start."""
    began = time.process_time()
    # What was compiled for the sizes of another session only takes memory.
    jax.clear_caches()
    recording = lr.recording.rat_session(session.stem, session.parents[1])
    found = lr.latents.heldout.evaluate(recording, 2, key=key, only=[0], **OPTIONS)
    fit = found.folds[0].fit
    # The choice axis first, and the first state of the mean trial.
    drift = lr.gauge.transform_drift(fit.model.drift, choice_axes(fit))
    start = jnp.asarray(choice_axes(fit) @ np.asarray(fit.latents.z)[:, 0].mean(axis=0), jnp.float32)
    tau = recording.bin_width / fit.model.alpha

    def velocity(z):
        return (drift(z[None])[0] - z) / tau

    jacobian = np.asarray(jax.jacfwd(velocity)(start))
    rates = np.linalg.eigvals(jacobian)
    return {
        "trials": recording.n_trials,
        "neurons": recording.n_neurons,
        "scores": {name: float(value[0]) for name, value in found.scores.items()},
        # In whitened coordinates and seconds; the eigenvalues are the same in all coordinates.
        "start": start.tolist(),
        "velocity": velocity(start).tolist(),
        "jacobian": jacobian.tolist(),
        "eigenvalues": [[float(x.real), float(x.imag)] for x in rates],
        "core_seconds": time.process_time() - began,
        "worker_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def part(name, key):
    """One session in full, a control, the twin, or the evidence; their keys are their own."""
    del key
    warnings.simplefilter("ignore", UserWarning)
    if name in SESSIONS:
        return session(name, *SESSIONS[name])
    return control(name) if name in CONTROLS else {"twin": twin, "evidence": evidence}[name]()


def main():
    held = json.loads(FILE.read_text()) if FILE.exists() else {}
    held |= {
        "command": "python studies/rat.py",
        "versions": {"lrcore": lr.__version__, "jax": jax.__version__},
    }
    parts = [*SESSIONS, *CONTROLS, "twin", "evidence"]
    done = held.get("sessions", {}) | held.get("controls", {}) | held
    asked = sys.argv[1:] or [name for name in [*parts, "survey"] if name not in done]
    if unknown := [name for name in asked if name not in [*parts, "survey"]]:
        sys.exit(f"expected parts among {', '.join([*parts, 'survey'])}, got {', '.join(unknown)}")
    if names := [name for name in asked if name in parts]:
        found = lr.sweep(part, {"name": names}, folder=FOLDER / "parts")
        print(found)
        done |= {found.jobs[name]["name"]: found[name] for name in found}
        for kind, several in (("sessions", SESSIONS), ("controls", CONTROLS)):
            held[kind] = {name: done[name] for name in several if name in done}
        held |= {name: done[name] for name in ("twin", "evidence") if name in done}
        write(held)
    if "survey" in asked:
        folder = Path(os.environ.get(lr.recording.published.FOLDER_VARIABLE, "."), "rat")
        sessions = sorted(folder.glob("*.mat"))
        if not sessions:
            sys.exit(
                f"survey: expected a folder of sessions, got none in {folder.absolute()}: set "
                f"{lr.recording.published.FOLDER_VARIABLE} to the one that has rat/*.mat"
            )
        found = lr.sweep(survey, {"session": sessions}, folder=FOLDER / "survey")
        print(found)
        done = {found.jobs[name]["session"].stem: found[name] for name in found}
        # Sessions that are not at hand today stay as they are.
        write(held | {"survey": held.get("survey", {}) | done})


def write(held):
    lr.saving.write_whole(FILE, lambda file: file.write(json.dumps(held).encode() + b"\n"))


if __name__ == "__main__":
    main()
