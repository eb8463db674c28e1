"""What is left when a cluster of the quadstable system is silenced: truth, LINT, and Connector from rates.

`python studies/silencing.py` writes `book/results/silencing.json`; arguments: epochs of LINT (1,000), seeds
(20), trials (60).
"""

import json
import sys
from pathlib import Path

import jax.random as jr
import numpy as np

import lrcore as lr

N = 1000
CENTRES = 0.87 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
GRID = lr.systems.grid(20)
RESULTS = Path(__file__).parents[1] / "book/results/silencing.json"


def compared(net, truth, silent) -> dict:
    """A network's drift without some neurons beside the truth's without the same: relative error, intact
    too, and the stable points of both.
    """
    net = lr.gauge.transform(net, lr.gauge.alignment(net, truth))

    def error(a, b):
        size = float(np.sqrt(np.mean(np.asarray(b.drift(GRID), float) ** 2)))
        return float(lr.flowfield.drift_error(a.drift, b.drift, GRID) / size)

    def stable(one):
        found = lr.flowfield.fixed_points(one.drift, lr.systems.grid(11))
        return found.points[found.stable]

    left, left_truth = net.silenced(silent), truth.silenced(silent)
    ours, theirs = stable(left), stable(left_truth)
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    place = float(max(apart.min(axis=0).max(), apart.min(axis=1).max())) if apart.size else None
    return {
        "intact": error(net, truth),
        "silenced": error(left, left_truth),
        "stable": len(ours),
        "stable_truth": len(theirs),
        "place": place,
    }


def recorded(seed: int, trials: int):
    """A network, the recording of its rates, and what Connector makes of the rates alone."""
    truth = lr.systems.quadstable().sample(jr.key(seed), N)
    chosen = np.random.default_rng(seed).permutation(400)[:trials]
    rates = truth.rates(lr.systems.trajectories(truth)[chosen])
    recording = lr.Recording(rates=rates, bin_width=0.01)
    found = lr.latents.from_rates(recording, 2, activation="tanh")
    model = lr.maxent.fit(found.steps(), found.embedding)
    return truth, recording, model.network()


def clusters(net, truth) -> list:
    """The neurons of each cluster by the embedding that was found: those nearest to its centre."""
    m = np.asarray(lr.gauge.transform(net, lr.gauge.alignment(net, truth)).m)
    nearest = np.linalg.norm(m[:, None] - CENTRES, axis=-1).argmin(axis=1)
    return [nearest == k for k in range(4)]


def main(epochs: int = 1000, seeds: int = 20, trials: int = 60):
    """Connector on `seeds` networks; LINT from `seeds` initial weights on the first of them."""
    found = {"neurons": N, "trials": trials, "epochs": epochs, "Connector": [], "LINT": []}
    for seed in range(seeds):
        truth, _, net = recorded(seed, trials)
        found["Connector"].append([compared(net, truth, one) for one in clusters(net, truth)])
        print(seed, found["Connector"][-1], flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    truth, recording, net = recorded(0, trials)
    options = {"epochs": epochs, "seeds": seeds, "progress": False}
    trained = lr.training.on_recording(recording, 2, alpha=lr.systems.ALPHA, key=jr.key(1), **options)
    found["rates_left"] = (trained.error / np.var(recording.rates)).tolist()
    sets = clusters(net, truth)
    found["LINT"] = [[compared(one, truth, silent) for silent in sets] for one in trained.networks]
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
