"""MATLAB sessions: each array in its own small type, missing choices, light in words, version 7.3."""

import warnings

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from test_readers import same, write_mat

from lrcore.recording import Recording


def trains(change, kinds=("uint8",)):
    """Spike trains of four neurons in each trial, after a change of some; trial by trial in these types."""

    def made(i):
        found = np.empty(4, object)
        rng = np.random.default_rng(i)
        found[:] = list(rng.poisson(0.3, (4, 20 + i)).astype(kinds[i % len(kinds)]))
        change(i, found)
        return found

    return made


def change(to, trial=4, neuron=1):
    def applied(i, found):
        if i == trial:
            found[neuron] = to(found[neuron])

    return applied


@pytest.mark.parametrize("trial", [0, 4])
@pytest.mark.parametrize("kinds", [("uint8",), ("uint8", "float64", "int16"), ("bool", "uint8")], ids=str)
def test_counts_are_read_in_a_type_that_holds_all(tmp_path, trial, kinds):
    def most(train):
        return np.where(np.arange(len(train)) == 3, 300, train.astype(np.int16))

    path = write_mat(tmp_path / "a.mat", spiketrains=trains(change(most, trial), kinds))
    found = Recording.from_mat(path)
    assert found.spikes.max() == 300 and found.spikes[trial, 3, 1] == 300
    plain = trains(lambda i, found: None, kinds)
    for i in range(6):
        expected = np.stack(list(plain(i)), axis=1).astype(int)
        expected[3, 1] = 300 if i == trial else expected[3, 1]
        np.testing.assert_array_equal(found.spikes[i, : 20 + i], expected)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (lambda t: np.full(len(t), np.nan), "got 24 NaN or infinite .* in 1 of 6 trials and 1 of 4 neurons"),
        (lambda t: t + 0.5, "24 fractional values"),
        (lambda t: t.astype(int) - 9, "negative values"),
        (lambda t: np.where(np.arange(len(t)) == 2, np.inf, t), "got 1 NaN or infinite"),
    ],
    ids=["lost", "fractions", "negative", "infinite"],
)
def test_later_trials_are_looked_at_as_the_first_is(tmp_path, to, words):
    path = write_mat(tmp_path / "a.mat", spiketrains=trains(change(to)))
    with pytest.raises(ValueError, match=rf"a\.mat: spikes: expected .*{words}"):
        Recording.from_mat(path)


def test_sparse_trains(tmp_path):
    plain = Recording.from_mat(write_mat(tmp_path / "a.mat", spiketrains=trains(lambda i, found: None)))

    def sparse(i, found):
        found[:] = [scipy.sparse.csc_matrix(one[:, None].astype(float)) for one in found]

    same(Recording.from_mat(write_mat(tmp_path / "b.mat", spiketrains=trains(sparse))), plain)


CHOICES = {
    "NaN": (lambda i: np.nan if i == 2 else i % 2, 5),
    "nothing": (lambda i: np.zeros(0) if i == 2 else i % 2, 5),
    "a word": (lambda i: ["left", "right"][i % 2] if i != 2 else "none", 5),
    "-1, 0 and 1": (lambda i: 0 if i == 2 else 2 * (i % 2) - 1, 5),
    "booleans": (lambda i: bool(i % 2), 6),
}


@pytest.mark.parametrize(("choice", "left"), CHOICES.values(), ids=CHOICES.keys())
def test_trials_without_a_choice_are_left_out(tmp_path, choice, left):
    path = write_mat(tmp_path / "a.mat", choice=choice)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Recording.from_mat(path)
    assert len(told) == 6 - left and all("1 without a choice" in str(one.message) for one in told)
    kept = np.arange(6) if left == 6 else np.array([0, 1, 3, 4, 5])
    np.testing.assert_array_equal(found.choices, kept % 2)
    np.testing.assert_array_equal(found.lengths, 20 + kept)


LIGHTS = {
    "none": (lambda i: "none", 6),
    "nothing": (lambda i: np.zeros(0), 6),
    "a word": (lambda i: "on" if i == 2 else "off", 5),
    "at 0 s": (lambda i: 0.0 if i == 2 else np.nan, 5),
    "flags": (lambda i: i == 2, 5),
    "flags in floats": (lambda i: float(i == 2), 5),
    "several": (lambda i: np.array([0.1, 0.2]) if i == 2 else np.nan, 5),
}


@pytest.mark.parametrize(("light", "left"), LIGHTS.values(), ids=LIGHTS.keys())
def test_light_in_words_and_times(tmp_path, light, left):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = Recording.from_mat(write_mat(tmp_path / "a.mat", photostimulus_incline_on_s=light))
    assert found.n_trials == left


def test_clicks_on_another_clock_and_missing_numbers(tmp_path):
    path = write_mat(tmp_path / "a.mat", clicktimes=lambda i: {"L": 100.0 + 3 * i, "R": [100.1 + 3 * i]})
    with pytest.raises(ValueError, match=r"a\.mat: expected clicktimes in seconds from the stereo click on"):
        Recording.from_mat(path)
    path = write_mat(
        tmp_path / "b.mat",
        clicktimes=lambda i: {"L": [0.0, np.nan], "R": np.nan},
        gamma=lambda i: np.zeros(0) if i == 1 else 0.5,
    )
    found = Recording.from_mat(path)
    assert (found.inputs.sum(axis=1) == [1, 0]).all()
    np.testing.assert_array_equal(np.isnan(found.info["gamma"]), np.arange(6) == 1)


@pytest.mark.parametrize(
    "moved",
    [
        lambda t, i: 1000 * t,
        lambda t, i: 30_000 * t,
        lambda t, i: t + 7.0 * i,
    ],
    ids=["milliseconds", "samples", "of the session, the first at 0"],
)
def test_clicks_of_which_some_are_in_a_trial_by_chance(tmp_path, moved):
    def clicks(i):
        return {side: moved(np.array([0.0, *more]), i) for side, more in (("L", [0.05, 0.11]), ("R", [0.07]))}

    with pytest.raises(ValueError, match=r"a\.mat: expected clicktimes in seconds .* most far beyond"):
        Recording.from_mat(write_mat(tmp_path / "a.mat", clicktimes=clicks))


# --- version 7.3, laid out as MATLAB does


def save_73(path, variables):
    """Variables as MATLAB writes them in HDF5: axes in reverse, cells and structures by reference."""
    h5py = pytest.importorskip("h5py")

    def put(group, name, value, refs):
        if isinstance(value, dict):
            made = group.create_group(name)
            made.attrs["MATLAB_class"] = np.bytes_("struct")
            for key, one in value.items():
                put(made, key, one, refs)
            return made
        if isinstance(value, np.ndarray) and value.dtype == object:
            held = np.empty((1, len(value)), h5py.ref_dtype)
            held[0] = [put(refs, f"r{len(refs)}", one, refs).ref for one in value]
            made = group.create_dataset(name, data=held, dtype=h5py.ref_dtype)
            made.attrs["MATLAB_class"] = np.bytes_("cell")
            return made
        if isinstance(value, str):
            made = group.create_dataset(name, data=np.array([[ord(c)] for c in value], np.uint16))
            made.attrs["MATLAB_class"] = np.bytes_("char")
            return made
        if np.size(value) == 0:
            made = group.create_dataset(name, data=np.zeros(2, np.uint64))
            made.attrs["MATLAB_empty"] = np.uint8(1)
        else:
            made = group.create_dataset(name, data=np.atleast_2d(np.asarray(value, float)))
        made.attrs["MATLAB_class"] = np.bytes_("double")
        return made

    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        for name, value in variables.items():
            put(file, name, value, refs)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def written(monkeypatch, path, **how):
    """The variables that `write_mat` writes, and its file."""
    held = {}
    save = scipy.io.savemat

    def kept(path, variables):
        held.update(variables)
        save(path, variables)

    monkeypatch.setattr(scipy.io, "savemat", kept)
    return write_mat(path, **how), held


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"n_neurons": 1},
        {"clicktimes": lambda i: {"L": np.zeros(0), "R": np.zeros(0)}},
        {"photostimulus_incline_on_s": lambda i: "none"},
        {"choice": lambda i: ["left", "right"][i % 2]},
    ],
    ids=["as published", "one neuron", "no clicks", "light in words", "choices in words"],
)
def test_version_73_is_read_as_older_ones(tmp_path, monkeypatch, how):
    old, held = written(monkeypatch, tmp_path / "old.mat", **how)
    found = Recording.from_mat(save_73(tmp_path / "new.mat", held))
    same(found, Recording.from_mat(old))
    assert found.neurons[0] == "mPFC 0"


def test_structures_in_an_array_are_read_too(tmp_path, monkeypatch):
    """As MATLAB writes `trials(i).choice`: fields that refer to a value for each."""
    h5py = pytest.importorskip("h5py")
    old, held = written(monkeypatch, tmp_path / "old.mat")
    path = save_73(tmp_path / "new.mat", held)
    with h5py.File(path, "r+") as file:
        for name in ("trials", "neurons"):
            cells = [file[one] for one in file[name][0]]
            del file[name]
            group = file.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for field in cells[0]:
                refs = np.array([[cell[field].ref] for cell in cells], h5py.ref_dtype)
                group.create_dataset(field, data=refs, dtype=h5py.ref_dtype)
    same(Recording.from_mat(path), Recording.from_mat(old))


def test_other_files_of_version_73_are_named(tmp_path, monkeypatch):
    path = save_73(tmp_path / "a.mat", {"weights": np.ones(3)})
    with pytest.raises(ValueError, match=r"a\.mat: .* got the variables weights in a file of version 7\.3"):
        Recording.from_mat(path)
    path = save_73(tmp_path / "b.mat", {"trials": np.ones(3), "neurons": np.ones(2)})
    with pytest.raises(
        ValueError, match=r"b\.mat: expected trials with choice, .* in a file of version 7\.3"
    ):
        Recording.from_mat(path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(
        ImportError, match=r"b\.mat: to read MATLAB files of version 7\.3, pip install h5py, or"
    ):
        Recording.from_mat(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_files_of_version_73(tmp_path, monkeypatch, kept):
    _, held = written(monkeypatch, tmp_path / "old.mat")
    path = save_73(tmp_path / "a.mat", held)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"a\.mat: expected a MATLAB session file"):
        Recording.from_mat(path)
