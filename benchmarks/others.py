"""Published implementations beside ours, on the same data and on this machine; `make bench` runs it.

    python benchmarks/others.py             # --small: a trial run of a minute

Their code is fetched by whoever repeats this and never kept here: the repository of the authors of Kim et al.
(2026), with their LINT, is cloned into _build/others/published, or found there; flowjax comes from PyPI.
They get an environment of their own, _build/others/environment. Where one cannot be had the row says why.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "_build" / "others"
PUBLISHED, VENV = PLACE / "published", PLACE / "environment"
ADDRESS = "https://github.com/AllenInstitute/connector"
PACKAGES = ("torch==2.13.0", "flow_matching==1.0.10", "flowjax==19.1.2", "scikit-learn", "scipy")
# Epochs and settings of the authors' own fit of this system, as their checkpoint has them.
EPOCHS = 1000
SETTINGS = {
    "latent_dim": 2,
    "hidden_dim": 128,
    "obs_dim": 1000,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 1e-5,
    "activation": "tanh",
    "scale": 1.0,
    "bias": False,
    "regularizer": 1e-4,
    "nsamples": 1000,
    "alpha": 0.1,
    "k": 1,
    "n_splits": 5,
    "seed": 1,
    "train_id": 0,
}
LINT = {"hidden_dim": 1000, "batch_size": 20, "lr": 1e-2, "regularizer": 0.0, "n_splits": 20}
DRAWS = 64  # of n at each neuron, for its mean


def data(folder: Path, small: bool) -> None:
    """What all are given: latents, neurons and samples of the quadstable system, and new ones to judge by."""
    import jax.random as jr

    import lrcore as lr

    truth = lr.systems.quadstable()
    network = truth.sample(jr.key(0), 1000)
    z = np.asarray(lr.systems.trajectories(network))[:, :100]
    h = z @ np.asarray(network.m).T
    new = truth.sample(jr.key(1), 2000)
    e = new.embedding.array
    np.savez(folder / "connector.npz", latents=z, MBD=np.asarray(network.m))
    some = slice(None, None, 20 if small else 2)
    np.savez(folder / "lint.npz", rates=np.tanh(h)[some], potentials=h[some], latents=z[some])
    np.savez(
        folder / "rest.npz",
        m=e,
        g=truth.conditional_mean(e),
        samples=truth.sample(jr.key(3), 20_000).m,
        log_prob=truth.embedding_log_prob(e),
    )


def ours(folder: Path, small: bool, epochs: int) -> None:
    """Rows of lrcore: seconds the first time and again, and what was missed."""
    import jax
    import jax.random as jr

    import lrcore as lr

    given, lint, rest = (np.load(folder / f"{name}.npz") for name in ("connector", "lint", "rest"))
    alpha, quiet, k = lr.systems.ALPHA, {"progress": False}, 20 if small else 1
    steps, embedding = lr.steps(given["latents"], alpha=alpha), lr.Embedding(given["MBD"])
    recording = lr.Recording(rates=lint["rates"][: 9 * len(lint["rates"]) // 10], bin_width=0.01)

    def connector(key):
        return lr.Connector.fit(steps, embedding, key=key, updates=1000 // k, **quiet)

    def trained(key):
        options = {"alpha": alpha, "epochs": 20 // k, "batch_size": 20, "key": key} | quiet
        return lr.training.on_recording(recording, 2, **options)

    def flow(key):
        return lr.Flow.fit(rest["samples"], key=key, updates=3000 // k, **quiet)[0]

    for what, call in (("connector", connector), ("lint", trained), ("flow", flow)):
        row = {}
        for n, word in enumerate(("first", "again")):
            start = time.perf_counter()
            found = jax.block_until_ready(call(jr.key(n)))
            row[word] = time.perf_counter() - start
        if what == "connector":
            row["error"] = off(found.conditional_mean(rest["m"]), rest["g"])
        if what == "flow":
            row["error"] = nats(found.log_prob(rest["m"]), rest["log_prob"])
        print(json.dumps({what: row}), flush=True)


def off(found, true) -> float:
    return float(np.mean((np.asarray(found) - true) ** 2))


def nats(found, true) -> float:
    return float(np.mean(np.abs(np.asarray(found) - true)))


def published_connector(folder: Path, small: bool, epochs: int) -> None:
    """Their two flows, by their own function."""
    import torch

    train, rest = published(), np.load(folder / "rest.npz")
    options = given(folder, "connector", SETTINGS)
    options.mbd_training_epochs = options.n_training_epochs = epochs
    start = time.perf_counter()
    model, *_ = train.train(options)
    taken = time.perf_counter() - start
    device = "cuda" if options.accel else "cpu"
    context = torch.tensor(np.repeat(rest["m"], DRAWS, axis=0), dtype=torch.float32)
    n = model.n_sample(len(context), context, device=device, num_steps=10)[-1].cpu().numpy()
    error = off(n.reshape(-1, DRAWS, 2).mean(axis=1), rest["g"])
    # One epoch is like another; but after fewer the error is not theirs.
    row = {"seconds": taken * EPOCHS / epochs, "epochs": epochs, "version": f"torch {torch.__version__}"}
    said(row | ({"error": error} if epochs == EPOCHS else {}))


def published_lint(folder: Path, small: bool, epochs: int) -> None:
    """Their loop of LINT, with its pass over a twentieth of the trials each for validation and test."""
    options = given(folder, "lint", SETTINGS | LINT)
    options.standard_training_epochs = 20 // (20 if small else 1)
    train = published()
    start = time.perf_counter()
    train.train_lint(options)
    said({"seconds": time.perf_counter() - start})


def flowjax_density(folder: Path, small: bool, epochs: int) -> None:
    """Its autoregressive flow of splines, by maximum likelihood, with its defaults."""
    import flowjax
    import jax.numpy as jnp
    import jax.random as jr
    from flowjax.bijections import RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow
    from flowjax.train import fit_to_data

    rest = np.load(folder / "rest.npz")
    samples = jnp.asarray(rest["samples"], jnp.float32)
    spline = RationalQuadraticSpline(knots=8, interval=4)
    start = time.perf_counter()
    flow = masked_autoregressive_flow(jr.key(0), base_dist=Normal(jnp.zeros(2)), transformer=spline)
    options = {"max_epochs": 1 if small else 100, "batch_size": 2048, "learning_rate": 5e-3}
    flow, _ = fit_to_data(jr.key(1), flow, samples, show_progress=False, **options)
    taken = time.perf_counter() - start
    error = nats(flow.log_prob(jnp.asarray(rest["m"], jnp.float32)), rest["log_prob"])
    said({"seconds": taken, "error": error, "version": f"flowjax {flowjax.__version__}"})


def published():
    if not (PUBLISHED / "train.py").exists():
        raise FileNotFoundError(f"their code could not be fetched from {ADDRESS}, nor is it in {PUBLISHED}")
    sys.path.insert(0, str(PUBLISHED))
    import train

    return train


def given(folder: Path, name: str, settings: dict) -> argparse.Namespace:
    import torch

    files = {"datapath": str(folder / f"{name}.npz"), "modelpath": str(folder / "models")}
    return argparse.Namespace(**settings, **files, accel=torch.cuda.is_available())


def said(row: dict) -> None:
    print(json.dumps({"theirs": row}), flush=True)


def prepare(fetch: bool) -> str:
    """The interpreter that has the others' packages; fetches what is missing and can be had."""
    PLACE.mkdir(parents=True, exist_ok=True)
    python, ready = VENV / "bin" / "python", VENV / "ready"
    if fetch and not (PUBLISHED / "train.py").exists():
        never_ask = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
        clone = ["git", "clone", "-q", "--depth", "1", ADDRESS, PUBLISHED]
        subprocess.run(clone, env=never_ask, capture_output=True)
    if fetch and not (ready.exists() and ready.read_text() == str(PACKAGES)):
        made = [[sys.executable, "-m", "venv", "--clear", VENV]]
        made += [[python, "-m", "pip", "install", "-q", *PACKAGES]]
        if all(subprocess.run(command).returncode == 0 for command in made):
            ready.write_text(str(PACKAGES))
    return str(python) if ready.exists() else sys.executable  # which may have some of them


def beside(*, small: bool = False, epochs: int = EPOCHS, limit: float = 3600.0, fetch: bool = True) -> dict:
    """By row: what it is called, ours, theirs. What could not be run says why."""
    theirs, found = prepare(fetch), {}
    with tempfile.TemporaryDirectory() as name:
        data(Path(name), small)
        options = {"folder": name, "small": small, "epochs": 5 if small else epochs}
        for child in CHILDREN:
            python = sys.executable if child == "ours" else theirs
            rows, why = run([python, __file__, child, json.dumps(options)], limit)
            if child == "ours":
                found = {what: {"names": names, "ours": rows.get(what)} for what, names in ROWS.items()}
            else:
                found[child]["theirs"] = rows.get("theirs", {"missing": why})
    return found


def run(command: list[str], limit: float) -> tuple[dict, str]:
    """The rows that a child printed, and its last word."""
    # What is compiled is one of the figures. Their code can be carried to a machine without a network.
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(PLACE / "site")])
    options = {"env": environment, "capture_output": True, "text": True, "timeout": limit}
    try:
        done = subprocess.run(command, **options)
    except subprocess.TimeoutExpired:
        return {}, f"stopped after {limit:.0f} s"
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {k: v for row in rows for k, v in row.items()}, (done.stderr.strip().splitlines() or [""])[-1]


def table(found: dict) -> str:
    """Ours and theirs, a line each."""
    lines = [
        "| beside published code | seconds: first / again; theirs, as many times ours | error |",
        "|---|---|---|",
    ]
    for row in found.values():
        (our_name, their_name, what), mine, theirs = row["names"], row["ours"], row["theirs"]
        if mine:
            lines.append(f"| {our_name} | {mine['first']:.1f} / {mine['again']:.1f} | {missed(mine, what)} |")
        if "missing" in theirs:
            lines.append(f"| {their_name} | not run: {theirs['missing']} | |")
            continue
        took = f"{theirs['seconds']:.1f}"
        if theirs.get("epochs", EPOCHS) < EPOCHS:
            took += f", from {theirs['epochs']} epochs"
        if mine:
            took += "; " + " / ".join(f"{theirs['seconds'] / mine[word]:.1f}" for word in ("first", "again"))
        lines.append(f"| {their_name} | {took} | {missed(theirs, what)} |")
    versions = [row["theirs"]["version"] for row in found.values() if "version" in row["theirs"]]
    return "\n".join([*lines, "", f"Theirs: {', '.join(versions) or 'not run'}."])


def missed(row: dict, what: str) -> str:
    return f"{what} {row['error']:.3f}" if "error" in row else ""


CHILDREN = {"ours": ours, "connector": published_connector, "lint": published_lint, "flow": flowjax_density}
# What ours and theirs are called, and their error.
ROWS = {
    "connector": (
        "Connector.fit, quadstable system, both flows",
        "the authors' code, 1,000 epochs a flow",
        "mean square error of g",
    ),
    "lint": ("LINT, 20 epochs of 180 trials, batches of 20", "the authors' LINT, the same", ""),
    "flow": ("Flow.fit, 20,000 samples", "splines by maximum likelihood, flowjax", "error of log p, nats"),
}


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in CHILDREN:
        options = json.loads(sys.argv[2])
        CHILDREN[sys.argv[1]](Path(options["folder"]), options["small"], options["epochs"])
    else:
        print(table(beside(small="--small" in sys.argv)))


if __name__ == "__main__":
    main()
