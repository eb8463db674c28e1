"""The chapter that takes one's own recording, on one whose flow is known: nothing is edited but the path."""

import os
import warnings
from pathlib import Path

import jax.random as jr
import jupytext
import numpy as np
import pytest
import sessions

import lrcore as lr
from lrcore.latents import methods

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
        if until and f"\n{until}" in f"\n{cell.source}":
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
    found, latents, _ = recorded(trials=60)
    found = {name: found[name] for name in ("spikes", "lengths")}
    names = walk(as_npz(tmp_path / "session.npz", found))
    # Without choices the first axis is what the spikes tell best, here the first latent.
    mask = names["recording"].mask
    (one, other), _ = np.abs(np.corrcoef(names["paths"][mask].T, latents[mask].T)[:2, 2:].T)
    assert one > 0.8 > 0.5 > other and names["share"][0] > names["share"][1]
    assert names["twin"] is None and "50 neurons in 60 trials" in names["words"]
    assert {p.name for p in (tmp_path / "your_recording").iterdir()} == {
        "figure.svg",
        "figure.pdf",
        "report.html",
    }


def spikes_of(neurons=12, trials=40, rate=0.15):
    return np.random.default_rng(0).poisson(rate, (trials, 60, neurons))


REFUSED = {
    "bins longer than TAU": ({"spikes": spikes_of(rate=2.0), "bin_width": 0.2}, "bins of at most TAU"),
    "few neurons": ({"spikes": spikes_of(neurons=3)}, "at least 6 neurons"),
    "few spikes": ({"spikes": spikes_of(rate=0.004)}, "at least 6 neurons"),
    "few trials": ({"spikes": spikes_of(trials=10)}, "at least 20 trials"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_recording_that_is_too_little_is_one_line(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRCORE_SCALE", "smoke")
    held, said = REFUSED[what]
    np.savez("session.npz", **held)
    with pytest.raises(ImportError, match=said) as told:
        walk("session.npz", until="## How many dimensions?")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("path", ["~/session.npz", " ~/session.npz ", "~/SESSION.NPZ"])
def test_a_path_is_read_as_one_writes_it(tmp_path, monkeypatch, path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LRCORE_SCALE", "smoke")
    monkeypatch.chdir(tmp_path)
    for name in ("session.npz", "SESSION.NPZ"):
        with open(name, "wb") as file:
            np.savez(file, spikes=spikes_of())
    assert walk(path, until="## Look")["recording"].n_neurons == 12
    assert lr.Recording.from_npz("~/session.npz").n_neurons == 12


def test_the_page_to_send_around_is_read_on_any_machine(tmp_path):
    figure = lr.plots.panels(1)[0]
    page = methods.page(tmp_path / "report.html", "Mäuse <1>", {"Flow": figure, "Fixed points": "z ± 1"})
    text = page.read_bytes().decode("utf-8")
    assert '<meta charset="utf-8"><meta name="viewport" content="width=device-width' in text
    # On a telephone columns scroll, by the keyboard too, and sentences wrap.
    columns, words = "kind    " + 9 * "  z1  " + "\n" + 60 * "1", 50 * "word "
    page = methods.page(tmp_path / "parts.html", "T", {"A": columns, "B": words})
    assert page.read_text().count('<pre class="wide" tabindex="0">') == 1
    assert f"<pre>{words}</pre>" in page.read_text()
    assert "<h1>Mäuse &lt;1&gt;</h1>" in text and '<svg role="img" aria-label="Flow"' in text


@pytest.mark.parametrize("inputs", [0, 1])
def test_the_paragraph_says_what_there_was(inputs):
    rng = np.random.default_rng(0)
    more = {"inputs": rng.poisson(0.3, (30, 60, 1))} if inputs else {}
    found = lr.latents.fit(
        lr.Recording(spikes=spikes_of(trials=30), **more), 2, key=jr.key(0), iterations=2, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few neurons say little of new ones
        solved = lr.maxent.fit(found.steps(jr.key(1)), found.embedding())
    said = methods.paragraph(found, solved, seeds={"fit": 0})
    assert "in 30 trials of 0.6 s were counted" in said and "2 latent and no nuisance dimensions" in said
    assert ("1 input late by 0 bins" if inputs else "no inputs, 128 random features") in said


@pytest.mark.parametrize("name", ["nowhere.npz", "nowhere.nwb", "notes.txt", "broken.npz"])
def test_a_wrong_path_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.npz").write_text("no archive")
    with pytest.raises(ImportError, match=name.replace(".", r"\.")) as told:
        walk(name)
    assert "\n" not in str(told.value)
