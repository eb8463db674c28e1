"""The chapter that takes one's own recording, on one whose flow is known: nothing is edited but the path."""

import os
from pathlib import Path

import jupytext
import numpy as np
import pytest
import sessions

import lrcore as lr

CHAPTER = Path(__file__).parents[2] / "book/your_recording.md"
ALPHA, WIDTH, STABLE = 0.1, 0.01, 1.5


def flow(z, u):
    """z + tau dz/dt: stable at (+-1.5, 0), a saddle at 0; two inputs push to either side."""
    push = u[:, 1] - u[:, 0]
    first = 0.8 * z[:, 0] * (1 - (z[:, 0] / STABLE) ** 2) + 0.7 * push
    return z + np.stack([first, 0.3 * push - 0.6 * z[:, 1]], axis=1)


def recorded(seed=0, trials=200, neurons=50, longest=120):
    """Arrays of a recording of Poisson neurons, the latents (trial, time, 2) and m (neuron, 2)."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(50, longest + 1, trials)
    right = rng.choice([0.35, 0.65], trials)
    rate = 40 * WIDTH * np.stack([1 - right, right], axis=1)
    u = rng.poisson(np.broadcast_to(rate[:, None], (trials, longest, 2))).astype(float)
    z = np.zeros((trials, longest, 2))
    z[:, 0] = 0.1 * rng.standard_normal((trials, 2))
    for t in range(longest - 1):
        z[:, t + 1] = (1 - ALPHA) * z[:, t] + ALPHA * flow(z[:, t], u[:, t])
        z[:, t + 1] += 0.08 * rng.standard_normal((trials, 2))
    m, d = 0.5 * rng.standard_normal((neurons, 2)), 0.5 * rng.standard_normal(neurons)
    resting = np.clip(12 * np.exp(0.5 * rng.standard_normal(neurons)), 4, 40)
    spikes = rng.poisson(WIDTH * resting * np.logaddexp(0, z @ m.T + d) / np.logaddexp(0, d))
    inside = np.arange(longest) < lengths[:, None]
    spikes[~inside], u[~inside] = 0, 0
    choices = (z[np.arange(trials), lengths - 1, 0] > 0).astype(int)
    return {"spikes": spikes, "externalinputs": u, "lengths": lengths, "choices": choices}, z, m


def events(counts, starts):
    """Times (event,) of counts (trial, time), spread evenly within their bins, trial by trial."""
    for some, start in zip(counts, starts, strict=True):
        bins = np.repeat(np.arange(len(some)), some)
        place = np.concatenate([(np.arange(n) + 0.5) / n for n in some if n] or [np.zeros(0)])
        yield start + WIDTH * (bins + place)


def as_nwb(path, found):
    starts = 2.0 + 3.0 * np.arange(len(found["lengths"]))
    units = [np.concatenate([*events(one, starts)]) for one in found["spikes"].transpose(2, 0, 1)]
    clicks = found["externalinputs"].astype(int)
    columns = {
        f"{side}_clicks": [*events(clicks[..., k], starts)] for k, side in enumerate(("left", "right"))
    }
    columns["choice"] = found["choices"].tolist()
    return sessions.write(path, units, starts, starts + WIDTH * found["lengths"], columns=columns)


def as_npz(path, found):
    np.savez(path, bin_width=WIDTH, **found)
    return path


WRITERS = {"npz": as_npz, "nwb": as_nwb}


def walk(path, until=None):
    """What the chapter has, cell by cell, after it was given a path: to its end, or to a heading."""
    names = {}
    for cell in jupytext.read(CHAPTER, fmt="md:myst").cells:
        if until and cell.source.startswith(until):
            break
        if cell.cell_type == "code":
            source = cell.source.replace('PATH = ""', f"PATH = {os.fspath(path)!r}")
            exec(compile(source, "your_recording", "exec"), names)
    return names


@pytest.mark.parametrize("kind", WRITERS)
def test_a_recording_is_the_same_from_either_kind_of_file(tmp_path, monkeypatch, kind):
    """So that what follows is tested for one of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRCORE_SCALE", "book")
    found, *_ = recorded()
    names = walk(WRITERS[kind](tmp_path / f"session.{kind}", found), until="## Look")
    recording = names["recording"]
    assert recording.bin_width == pytest.approx(WIDTH)
    np.testing.assert_array_equal(recording.spikes, found["spikes"])
    np.testing.assert_array_equal(recording.inputs, found["externalinputs"])
    np.testing.assert_array_equal(recording.lengths, found["lengths"])
    np.testing.assert_array_equal(recording.choices, found["choices"])


@pytest.mark.slow
def test_stable_points_of_a_known_flow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRCORE_SCALE", "book")
    found, latents, m = recorded()
    names = walk(as_npz(tmp_path / "session.npz", found), until="## Controls")
    visited = latents[names["recording"].mask]
    # The neurons' m say which coordinates are those of the truth.
    gauge = lr.gauge.alignment(names["network"], lr.LowRankNetwork(m, m)) @ names["axes"].T
    points, corrected = (
        np.asarray(part) @ gauge.T + visited.mean(axis=0)
        for part in (names["points"].points, names["corrected"])
    )
    stable = names["points"].stable
    assert stable.sum() == 2 and (~stable).sum() == 1
    for k, side in zip(np.flatnonzero(stable)[np.argsort(points[stable, 0])], (-1, 1), strict=True):
        assert np.linalg.norm(points[k] - [side * STABLE, 0]) < 0.15
        # Without its bias a point is nearer along the axis that is seen well.
        assert abs(corrected[k, 0] - side * STABLE) < 0.15
    assert np.linalg.norm(points[~stable]) < 0.5


@pytest.mark.slow
def test_the_whole_way_makes_a_figure_and_a_page(tmp_path, monkeypatch):
    """Of spikes alone; the twin, which has inputs and choices, goes this way in every run of the notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRCORE_SCALE", "smoke")
    found, *_ = recorded(trials=60)
    found = {name: found[name] for name in ("spikes", "lengths")}
    names = walk(as_npz(tmp_path / "session.npz", found))
    assert names["twin"] is None and "50 neurons in 60 trials" in names["words"]
    assert {p.name for p in (tmp_path / "your_recording").iterdir()} == {
        "figure.svg",
        "figure.pdf",
        "report.html",
    }


@pytest.mark.parametrize("name", ["nowhere.npz", "nowhere.nwb", "notes.txt", "broken.npz"])
def test_a_wrong_path_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.npz").write_text("no archive")
    with pytest.raises(ImportError, match=name.replace(".", r"\.")) as told:
        walk(name)
    assert "\n" not in str(told.value)
