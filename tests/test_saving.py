"""What was fitted comes back from a file as it was, and no file is half written or half read."""

import collections
import dataclasses
import functools
import importlib
import inspect
import json
import os
import pickle
import pkgutil

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import saving
from lrcore.distributions import Empirical


def ring(n: int = 40) -> lr.LowRankNetwork:
    return lr.systems.ring().sample(jr.key(0), n)


@functools.cache
def seen() -> lr.Steps:
    return lr.steps(lr.systems.trajectories(ring(), points=3, steps=20), alpha=0.1)


def full_network() -> lr.LowRankNetwork:
    rng = np.random.default_rng(0)
    m, n, b = (rng.normal(size=(9, 2)) for _ in range(3))
    return lr.LowRankNetwork(m, n, b, rng.normal(size=9), activation="softplus", tau=0.2)


def recording(**changes) -> lr.Recording:
    rng = np.random.default_rng(0)
    parts = {
        "spikes": rng.poisson(np.linspace(0.1, 0.5, 3), (12, 30, 3)),
        "bin_width": 0.02,
        "lengths": np.arange(12) + 15,
        "inputs": rng.normal(size=(12, 30, 2)),
        "choices": np.arange(12) % 2,
        "neurons": "abc",
        "info": {"gamma": rng.normal(size=12), "side": np.array(["left", "right"] * 6)},
    }
    return lr.Recording(**(parts | changes))


def mixture() -> lr.GaussianMixture:
    covariances = np.tile(np.eye(6), (2, 1, 1))
    return lr.GaussianMixture([1.0, 2.0], np.arange(12.0).reshape(2, 6), covariances, n_inputs=1, bias=True)


def trained() -> lr.training.Trained:
    data = lr.Recording(
        rates=ring().rates(lr.systems.trajectories(ring(), points=2, steps=9)), bin_width=0.01
    )
    options = {"start": "learned", "seeds": 2, "epochs": 5, "batch_size": 4, "progress": False}
    return lr.training.on_recording(data, 2, alpha=0.1, key=jr.key(0), **options)


def counts() -> lr.clusters.RequiredClusters:
    return lr.clusters.required(
        ring(200), lr.systems.ring().conditional_mean, key=jr.key(0), most=2, starts=1, folds=2
    )


MADE = {
    "network": full_network,
    "network of m and n": ring,
    "embedding": lambda: full_network().embedding,
    "recording": recording,
    "recording of rates": lambda: lr.Recording(rates=np.random.default_rng(0).normal(size=(3, 9, 2))),
    "steps": seen,
    "maximum entropy": lambda: lr.maxent.fit(seen(), ring().embedding),
    "maximum entropy of a given ridge": lambda: lr.maxent.fit(seen(), ring().embedding, ridge=1e-3),
    "evidence": lambda: made("maximum entropy").evidence,
    "modes": lambda: made("maximum entropy").modes,
    "population": lambda: lr.population.fit(ring().m, key=jr.key(0), kind="mixture")[0],
    "report": lambda: lr.identifiability.report(seen(), ring().embedding, noise=0.1),
    "report of a white prior": lambda: lr.identifiability.report(seen(), ring().embedding, size=0.1),
    "spectrum": lambda: lr.identifiability.spectrum(ring().embedding, lr.systems.grid(4)),
    "mixture": mixture,
    "empirical": lambda: Empirical(full_network()),
    "partner": lambda: lr.null_space_partner(
        lr.systems.ring(), np.asarray(lr.systems.grid(5)), key=jr.key(0), kind="tails"
    ),
    "gauged": lambda: lr.gauge.transform(Empirical(full_network()), np.array([[2.0, 1.0], [0.0, 1.0]])),
    "flow": lambda: lr.Flow(2, 1, width=8, depth=2, key=jr.key(0)),
    "fixed points": lambda: lr.flowfield.fixed_points(ring().drift, lr.systems.grid(3)),
    "required clusters": counts,
    "agreement": lambda: lr.flowfield.agreement(
        ring().drift, lr.systems.ring().drift, np.asarray(lr.systems.grid(3))
    ),
    "clicks session": lambda: lr.recording.clicks_session(jr.key(0), n_trials=10, n_neurons=5),
    "session for a page": lambda: lr.recording.published.RatSession(recording(), False, "a twin"),
    "record of a training": lambda: lr.Flow.fit(
        np.random.default_rng(0).normal(size=(50, 2)), key=jr.key(0), updates=5, width=8, progress=False
    )[1],
    "trained": trained,
    "task": lambda: lr.training.tasks.clicks(jr.key(0), 5),
}


@functools.cache
def made(what: str):
    return MADE[what]()


def fitted(what: str, request):
    """An object by its name; the large ones are fits that other files look at as well."""
    if what == "Connector":
        return request.getfixturevalue("quadstable_fit")[2]
    if what == "state space":
        return request.getfixturevalue("state_space_fit")(80, 40)
    if what == "latents":
        return request.getfixturevalue("state_space_fit")(80, 40).latents
    if what == "state-space model":
        return request.getfixturevalue("state_space_fit")(80, 40).model
    return made(what)


ALL = [*MADE, "Connector", "state space", "state-space model", "latents"]


def same(one, other) -> None:
    """The same structure, with what is static in it, and the same numbers in the same types."""
    assert type(one) is type(other) and jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(a) is type(b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
        np.testing.assert_array_equal(a, b)


def wrong_in_many_ways() -> lr.Recording:
    rng = np.random.default_rng(0)
    spikes = rng.poisson(0.1, (120, 100, 60))
    spikes[60:, :, :20] = rng.poisson(0.4, (60, 100, 20))
    spikes[:, :, 40] = np.linspace(0, 6, 120)[:, None].astype(int)
    spikes[10], spikes[5], spikes[90:, 70:], spikes[3, 10, 7] = spikes[11], 8 * spikes[5], 0, 60
    more = {"choices": np.repeat([0, 1], 60), "info": {"onsets": 0.5 * np.arange(120)}}
    return lr.Recording(spikes=spikes, inputs=np.ones((120, 100, 2)), **more)


def types(count: int) -> lr.cell_types.CellTypes:
    one = lr.GaussianMixture([1.0], [[0.0, 1.0]], [np.eye(2)])
    labels = [f"type {k}" for k in range(count)]
    return lr.cell_types.CellTypes(dict.fromkeys(labels, one), dict.fromkeys(labels, 1 / count))


def kept_law() -> lr.dale.Dale:
    network = lr.systems.excitatory_inhibitory().sample_labelled(jr.key(0), 40, activation="sigmoid")[0]
    steps = lr.steps(lr.systems.trajectories(network, points=3, steps=20), alpha=0.1)
    return lr.dale.fit(lr.maxent.fit(steps, network.embedding, activation="sigmoid"), np.zeros(40))


PRINTED = {
    "report with candidates": lambda: lr.identifiability.report(made("maximum entropy"), candidates=seen()),
    "report of a recording": lambda: wrong_in_many_ways().report(tau=0.005),
    "recording of many notes": lambda: recording(notes=[f"note {k}" for k in range(30)]),
    "cell types": lambda: types(2),
    "many cell types": lambda: types(40),
    "gauged types": lambda: lr.gauge.transform(types(3), np.array([[2.0]])),
    "gauged partner": lambda: lr.gauge.transform(
        lr.gauge.transform(made("partner"), np.array([[2.0, 1.0], [0.0, 1.0]])), np.eye(2)
    ),
    "belief": lambda: lr.belief.belief(made("maximum entropy")),
    "perturbation": lambda: lr.perturb.silenced(np.arange(40) < 5),
    "prediction": lambda: lr.perturb.predict(
        made("maximum entropy"), lr.perturb.silenced(np.arange(40) < 5), lr.systems.grid(4), key=jr.key(0)
    ),
    "clusters": lambda: lr.clusters.fit(ring(200).m, key=jr.key(0), most=2, starts=1, folds=2),
    "tails": lambda: lr.tails.fit(np.random.default_rng(0).standard_t(3, (500, 3))),
    "tail index": lambda: lr.tails.tail_index(np.random.default_rng(0).standard_t(3, (500, 3))),
    "what tails do": lambda: lr.tails.required(ring(), lr.systems.grid(4)),
    "confound": lambda: lr.identifiability.confounds(made("spectrum"))[0],
    "neurons one by one": lambda: lr.identifiability.individually_identified(made("spectrum"), 0.1, size=1.0),
    "Dale": kept_law,
    "figure with sliders": lambda: lr.widgets.explore(lambda a: None, a=[1, 2, 3]),
}


@pytest.mark.parametrize("what", [*ALL, *PRINTED])
def test_prints_in_few_lines(what, request):
    """At most ten, as wide as a page: no arrays, however large what was fitted is."""
    lines = repr(PRINTED[what]() if what in PRINTED else fitted(what, request)).splitlines()
    assert 1 <= len(lines) <= 10 and max(map(len, lines)) <= 200


def test_a_report_that_is_cut_names_the_rest():
    report = wrong_in_many_ways().report(tau=0.005)
    assert len(report.findings) >= 10
    assert all(one.name in repr(report) for one in report.findings)


@pytest.mark.parametrize("what", ALL)
def test_save_and_load_give_the_same_object(what, request, tmp_path):
    found = fitted(what, request)
    file = tmp_path / "found.lrcore"
    lr.save(file, found)
    assert list(tmp_path.iterdir()) == [file]
    same(lr.load(str(file)), found)
    lr.save(str(file), lr.load(file))
    same(lr.load(file), found)


@pytest.mark.parametrize("what", ALL)
def test_pickle_gives_the_same_object(what, request):
    found = fitted(what, request)
    same(pickle.loads(pickle.dumps(found)), found)


def test_what_was_loaded_does_what_was_saved(quadstable_fit, tmp_path):
    network, seen, found = quadstable_fit
    lr.save(tmp_path / "found", found)
    back = lr.load(tmp_path / "found")
    e, n = network.embedding, network.n
    for method in ("exact", "flow"):
        np.testing.assert_array_equal(
            back.sample(jr.key(0), 50, method=method).n, found.sample(jr.key(0), 50, method=method).n
        )
        np.testing.assert_array_equal(
            back.log_prob(e.m, e.b, e.d, n, method=method), found.log_prob(e.m, e.b, e.d, n, method=method)
        )
    np.testing.assert_array_equal(back.drift(seen.z[0]), found.drift(seen.z[0]))
    np.testing.assert_array_equal(back.posterior(jr.key(0)).n, found.posterior(jr.key(0)).n)


def test_a_loaded_recording_is_like_any_other(tmp_path):
    data = recording()
    lr.save(tmp_path / "data", data)
    back = lr.load(tmp_path / "data")
    assert repr(back) == repr(data) and back.neurons == ("a", "b", "c")
    same(back.trials([3, 1]).select_neurons([2]), data.trials([3, 1]).select_neurons([2]))


@pytest.mark.parametrize("what", ["network", "recording", "flow"])
@pytest.mark.parametrize("part", ["nothing", "magic", "digest", "header", "values", "last byte"])
def test_truncated_file_is_refused(tmp_path, what, part):
    file = tmp_path / "found"
    lr.save(file, made(what))
    whole = file.read_bytes()
    cuts = {"nothing": 0, "magic": 5, "digest": 40, "header": 120, "values": len(whole) // 2}
    cut = cuts.get(part, len(whole) - 1)
    file.write_bytes(whole[:cut])
    with pytest.raises(ValueError, match="^path: .*(damaged, truncated, or|another kind of file)"):
        lr.load(file)
    assert file.read_bytes() == whole[:cut]


@pytest.mark.parametrize("at", np.linspace(0, 1, 12))
def test_damaged_file_is_refused(tmp_path, at):
    """One byte is another, anywhere: also one of the numbers."""
    file = tmp_path / "found"
    lr.save(file, made("recording"))
    damaged = bytearray(file.read_bytes())
    damaged[int(at * (len(damaged) - 1))] ^= 0xFF
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match="^path: .*(damaged, truncated, or|another kind of file)"):
        lr.load(file)
    assert file.read_bytes() == damaged


def test_a_file_with_more_in_it_is_refused(tmp_path):
    file = tmp_path / "found"
    lr.save(file, made("network"))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ValueError, match="^path: .*damaged, truncated, or of another version"):
        lr.load(file)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, spikes=np.zeros(3))
    text, model = tmp_path / "thesis.txt", tmp_path / "found.pickle"
    text.write_text("A life's work.")
    model.write_bytes(pickle.dumps(made("network")))
    for other in (file, text, model):
        with pytest.raises(
            ValueError, match="^path: expected a file written by lr.save, got another kind of file"
        ):
            lr.load(other)
    with pytest.raises(FileNotFoundError):
        lr.load(tmp_path / "nowhere")


def test_classes_of_others_are_not_made(tmp_path):
    """A file cannot have anything made that is not of lrcore."""
    content = json.dumps(["module", "pathlib", "Path", {}]).encode() + b"\n"
    file = tmp_path / "x"
    file.write_bytes(saving._MAGIC + saving._digest(saving.io.BytesIO(content)) + content)
    with pytest.raises(ValueError, match="damaged.*pathlib is not of lrcore"):
        lr.load(file)


def classes() -> dict[str, type]:
    """Every class of lrcore that holds numbers, by its name."""
    modules = [importlib.import_module(one.name) for one in pkgutil.walk_packages(lr.__path__, "lrcore.")]
    found = {}
    for module in modules:
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                modular = issubclass(kind, eqx.Module) and dataclasses.fields(kind)
                if (modular and not inspect.isabstract(kind)) or hasattr(kind, "_fields"):
                    found[f"{module.__name__}.{kind.__name__}"] = kind
    return found


@pytest.mark.parametrize("name", classes())
def test_whatever_class_it_is_of(name, tmp_path):
    """Filled with anything: how it is written does not depend on which one it is."""
    kind = classes()[name]
    if hasattr(kind, "_fields"):
        found = kind(*map(np.arange, range(len(kind._fields))))
    else:
        found = object.__new__(kind)
        for i, field in enumerate(dataclasses.fields(kind)):
            object.__setattr__(found, field.name, "a" if field.metadata.get("static") else np.arange(i))
    lr.save(tmp_path / "found", found)
    same(lr.load(tmp_path / "found"), found)


def test_function_as_activation_cannot_be_saved(tmp_path):
    embedding, steps = ring().embedding, seen()
    for found, field in (
        (lr.LowRankNetwork(np.eye(2), np.eye(2), activation=jnp.sin), "activation"),
        (lr.maxent.fit(steps, embedding, activation=jnp.tanh, ridge=1e-3), "activation"),
    ):
        with pytest.raises(ValueError, match=f"^{field}: expected a name or numbers to save, got a function"):
            lr.save(tmp_path / "found", found)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_saved_is_refused_at_once(tmp_path):
    class Own(eqx.Module):
        x: int = 1

    for value in (np.zeros(3), {"a": 1}, None, lr.LowRankNetwork):
        with pytest.raises(TypeError, match="fitted"):
            lr.save(tmp_path / "x", value)
    with pytest.raises(
        TypeError, match="^fitted: expected an object of lrcore, such as a Connector, got Own"
    ):
        lr.save(tmp_path / "x", Own())
    objects = recording(info={"mixed": np.array(["a", 1, None] * 4, dtype=object)})
    with pytest.raises(ValueError, match=r"^info\['mixed'\]: expected a name or numbers to save"):
        lr.save(tmp_path / "x", objects)
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "found"
    lr.save(file, made("network"))
    before = file.read_bytes()

    def fails(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        lr.save(file, made("network"))
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    file = tmp_path / "result"
    saving.write_whole(file, lambda handle: handle.write(b"old"))

    def fails(handle):
        handle.write(b"half of the ne")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        saving.write_whole(file, fails)
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
    with pytest.raises(FileNotFoundError):
        saving.write_whole(tmp_path / "nowhere" / "result", lambda handle: None)


def test_written_files_can_be_read_by_whom_others_can(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_bytes(b"")
    saving.write_whole(ours, lambda handle: handle.write(b"x"))
    assert ours.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    "content",
    [
        {rank: np.array(float(rank)) for rank in (1, 2, 10)},
        {0.5: "half", 10: 10.0, True: np.arange(2)},
        collections.OrderedDict(b=1.0, a=2.0),
        collections.defaultdict(float, {np.int64(10): np.float32(1.0), np.int64(9): 2.0}),
        [collections.Counter("aab"), {"deep": {10: [1, None], 9: (2**64 - 1, -(2**63))}}],
    ],
)
def test_values_come_back_under_their_keys(content, tmp_path):
    """Also where keys are numbers, which as texts would stand in another order, and for dicts of other kinds,
    whose parts stand as they were put in.
    """
    (tmp_path / "x").write_bytes(saving.encoded(content))
    found = lr.load(tmp_path / "x")
    assert type(found) is (list if isinstance(content, list) else dict)
    np.testing.assert_equal(found, content)


@pytest.mark.parametrize(
    "content",
    [
        2**64,
        jnp.ones(2, jnp.bfloat16),
        jr.key(0),
        np.zeros(2, [("a", int), ("b", float)]),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        {1: 0.0, "a": 1.0},
        {(1, 2): 0.0},
    ],
)
def test_what_would_come_back_otherwise_is_refused(content):
    with pytest.raises(ValueError, match=r"^result(\['own'\])?: expected .* to save, got"):
        saving.encoded({"own": content})
