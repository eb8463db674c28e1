"""The whole way from spikes to a network and its flow field, on a real and on a synthetic session."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest

import lrcore as lr


def _whole_way(recording: lr.Recording) -> None:
    states = lr.latents.smooth(recording, rank=2)
    steps = states.steps(tau=0.1)
    found = lr.Connector.fit(
        steps,
        states.embedding,
        tau=0.1,
        key=jr.key(0),
        updates=200,
        progress=False,
    )
    extent = float(np.quantile(np.abs(states.z[states.mask]), 0.99))
    starts = lr.systems.grid(15, extent)
    own = np.asarray(found.maxent.network().drift(starts))
    network = found.posterior(jr.key(1), 1000)
    together = np.asarray(network.drift(starts))
    # Drawn together, a thousand new neurons move as the recorded ones do.
    assert np.sqrt(np.mean((together - own) ** 2)) < 0.2 * np.sqrt(np.mean(own**2))

    begin = time.perf_counter()
    report = lr.identifiability.report(found)
    assert time.perf_counter() - begin < 30
    # Few neurons: hardly a function of e is known to a tenth, several better than by the prior.
    assert report.modes < 8 and 2 <= report.modes + report.partly < recording.n_neurons / 2
    assert list(report.counts) == sorted(report.counts) and report.counts[1] == report.modes
    # Smoothed latents are no independent measurements at each step.
    assert len(steps) == (recording.lengths - 1).sum() and report.steps < len(steps) / 2
    assert report.noise == found.maxent.noise

    points = lr.flowfield.fixed_points(network.drift, starts)
    assert points.stable.any()
    # The two choices end on two sides of the first axis, and so do the stable states.
    assert points.points[points.stable][:, 0].min() < 0 < points.points[points.stable][:, 0].max()

    drawn = found.sample(jr.key(2), 1000)
    latents = network.simulate(states.z[:20, 0], None, recording.bin_width, 100)
    for values in (drawn.m, drawn.n, drawn.d, found.log_prob(drawn.m, None, drawn.d, drawn.n), latents):
        assert np.isfinite(values).all()
    ax = lr.plots.flow_field(network, extent=extent, fixed_points=points)
    assert ax.get_xlim() == pytest.approx((-extent, extent))


# Some eighty neurons do not show the law: the fit says that the mean of others would not carry the flow.
FEW = pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons:UserWarning")


@FEW
def test_synthetic_session(clicks_session):
    _whole_way(clicks_session().recording)


@FEW
@pytest.mark.data
def test_real_session():
    if not os.environ.get("LRCORE_DATA"):
        pytest.skip("LRCORE_DATA names no folder of recordings, where rat/*.mat would be")
    name = lr.recording.find_rat_session()
    if name is None:
        pytest.skip("the folder that LRCORE_DATA names holds no rat/*.mat")
    _whole_way(lr.recording.rat_session(name))


@FEW
@pytest.mark.parametrize(
    ("seed", "chosen"),
    [(0, lambda m: m < np.quantile(m, 0.2)), (3, lambda m: m < np.median(m))],
    ids=["a fifth", "half, another twin"],
)
def test_a_silencing_that_is_predicted_wrong_was_not_called_identified(clicks_session, seed, chosen):
    """The verdict is of the data alone; the truth comes in afterwards, and the prediction fails."""
    twin = clicks_session(seed, 100)
    latents = lr.latents.fit(twin.recording, 2, key=jr.key(1), iterations=4, progress=False)
    solved = lr.maxent.fit(latents.steps(jr.key(2), 1), latents.embedding())
    silent = chosen(np.asarray(twin.network.m)[:, 0])
    own = np.asarray(solved.steps.z[::97])
    said = lr.perturb.predict(solved, lr.perturb.silenced(silent), own, key=jr.key(3))
    assert said.verdict in ("free", "assumed"), said
    gauge = lr.gauge.alignment(solved.network(), twin.network)
    centre = np.asarray(twin.latents)[twin.recording.mask].mean(axis=0)
    there = (own @ np.asarray(gauge).T + centre).astype(np.float32)
    mine, true = (
        np.asarray(net.silenced(silent).drift(z) - net.drift(z))
        for net, z in ((solved.network(), own.astype(np.float32)), (twin.network, there))
    )
    off = mine @ np.asarray(gauge).T - true
    assert np.mean(off[:, 0] ** 2) > 0.5 * np.mean(true[:, 0] ** 2)


STUDIES = Path(__file__).parents[1] / "studies"


@pytest.mark.parametrize(
    ("part", "said"), [("survey", "expected a folder of sessions, got none in"), ("surveys", "got surveys")]
)
def test_a_study_without_sessions_says_so(tmp_path, part, said):
    done = subprocess.run(
        [sys.executable, str(STUDIES / "rat.py"), part],
        env=os.environ | {"LRCORE_DATA": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_survey_of_some_sessions_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    import rat

    class Found(dict):
        jobs = {"session=b.mat": {"session": Path("b.mat")}}

    (tmp_path / "rat").mkdir()
    (tmp_path / "rat" / "b.mat").touch()
    monkeypatch.setenv("LRCORE_DATA", str(tmp_path))
    monkeypatch.setattr(rat, "FILE", tmp_path / "rat.json")
    monkeypatch.setattr(sys, "argv", ["rat.py", "survey"])
    monkeypatch.setattr(lr, "sweep", lambda *_, **__: Found({"session=b.mat": {"neurons": 2}}))
    rat.FILE.write_text(json.dumps({"survey": {"a": {"neurons": 1}, "b": {"neurons": 0}}}))
    rat.main()
    assert json.loads(rat.FILE.read_text())["survey"] == {"a": {"neurons": 1}, "b": {"neurons": 2}}
