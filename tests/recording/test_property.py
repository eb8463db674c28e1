"""Generated recordings: whatever they come in, the same recording, or an error that says why not."""

import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sessions import write
from test_containers import Tensor
from test_readers import write_mat

from lrcore.recording import Recording

AXES = ("trial", "time", "neuron")
WIDTHS = (0.001, 0.005, 0.01, 0.02, 0.1)


def chosen(rng, values):
    return values[rng.integers(len(values))]


def generated(rng):
    """The arguments of a recording, plain and right."""
    shape = n_trials, n_time, _ = rng.integers(2, 25), rng.integers(8, 50), rng.integers(1, 10)
    held = {"bin_width": chosen(rng, WIDTHS)}
    if rng.random() < 0.6:
        mean = rng.uniform(0.3, 60) * held["bin_width"] * rng.uniform(0.3, 1.7, shape[2])
        signal = rng.poisson(mean, shape)
        if rng.random() < 0.2:
            signal[rng.integers(n_trials), rng.integers(2), 0] = chosen(rng, (100, 127, 128, 300, 40_000))
        held["plausible_rates"] = (0, np.inf)
    else:
        signal = rng.normal(size=shape) * 10.0 ** rng.uniform(-6, 6) + chosen(rng, (0, 0, 5, -1e3, 1e6))
        signal = signal.astype(chosen(rng, ("float32", "float64")))
    # No neuron is constant, and none but by what stands within the trials.
    signal[0, :2] = [[0], [1]]
    held["spikes" if signal.dtype.kind == "i" else "rates"] = signal
    if rng.random() < 0.6:
        held["lengths"] = rng.integers(2, n_time + 1, n_trials)
        held["lengths"][rng.integers(n_trials)] = n_time
    if rng.random() < 0.4:
        held["inputs"] = rng.normal(size=(n_trials, n_time, rng.integers(1, 4))).astype(np.float32)
    if rng.random() < 0.4:
        held["choices"] = rng.integers(0, 2, n_trials)
    if rng.random() < 0.3:
        held["neurons"] = [f"n{i}" for i in range(shape[2])]
    return held


def name_of(held):
    return "spikes" if "spikes" in held else "rates"


def rows(array, lengths):
    return [one[:length] for one, length in zip(array, lengths, strict=True)]


# --- what it comes in: each gives other arguments for the same recording, or None where it cannot


def as_types(rng, held, name):
    kinds = ["int64", "float32", "float64", "uint16", "int32"] if name == "spikes" else [held[name].dtype]
    if name == "spikes" and held[name].max() < 128:
        kinds += ["int8", "uint8"]
    return {name: held[name].astype(chosen(rng, kinds))}


def as_padded(rng, held, name):
    """Whatever stands in the padding."""
    if "lengths" not in held:
        return None
    beyond = np.arange(held[name].shape[1]) >= held["lengths"][:, None]
    signal = held[name].astype(float if name == "spikes" else held[name].dtype)
    signal[beyond] = chosen(rng, (np.nan, np.inf, -1.0, 0.5, -999))
    return {name: signal}


def as_masked(rng, held, name):
    if "lengths" not in held:
        return None
    beyond = np.arange(held[name].shape[1]) >= held["lengths"][:, None]
    mask = np.broadcast_to(beyond[:, :, None], held[name].shape)
    found = {name: np.ma.masked_array(np.where(mask, 77, held[name]), mask)}
    return found if rng.random() < 0.5 else found | {"lengths": None}


def as_trials(rng, held, name):
    if "lengths" not in held:
        return {name: list(held[name])}
    given = {name: rows(held[name], held["lengths"])}
    if "inputs" in held and rng.random() < 0.5:
        given["inputs"] = rows(held["inputs"], held["lengths"])
    return given | chosen(rng, ({}, {"lengths": None}))


def as_sparse(rng, held, name):
    if name == "rates":
        return None
    if rng.random() < 0.5:
        return {name: scipy.sparse.coo_array(held[name])}
    kind = chosen(rng, (scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix))
    return {name: [kind(one) for one in held[name]]}


def as_tables(rng, held, name):
    pandas = pytest.importorskip("pandas")
    columns = held.get("neurons")
    return {name: [pandas.DataFrame(one, columns=columns) for one in held[name]]}


def as_tensor(rng, held, name):
    return {name: Tensor(held[name], is_sparse=bool(rng.random() < 0.5))}


def as_jax(rng, held, name):
    return None if held[name].dtype == np.float64 else {name: jnp.asarray(held[name])}


def as_lists(rng, held, name):
    return None if held[name].dtype == np.float32 else {name: held[name].tolist()}


def as_turned(rng, held, name):
    order = rng.permutation(3)
    said = [AXES[i] for i in order]
    axes = chosen(rng, (said, tuple(said), " ".join(said)))
    signal = held[name].transpose(order)
    return {name: chosen(rng, (signal, np.ascontiguousarray(signal))), "axes": axes}


CONTAINERS = [
    as_types, as_padded, as_masked, as_trials, as_sparse, as_tables, as_tensor, as_jax, as_lists, as_turned,
]  # fmt: skip


# --- what is wrong with it: all of these are refused


def with_number(value):
    def wrong(rng, held, name):
        if name == "rates" and np.isfinite(value):
            return None
        signal = held[name].astype(float)
        length = held["lengths"][1] if "lengths" in held else signal.shape[1]
        signal[1, rng.integers(length), rng.integers(signal.shape[2])] = value
        return {name: signal}

    return wrong


def in_milliseconds(rng, held, name):
    width = 1000 * held["bin_width"]
    return {"bin_width": width} if width > 1 else None


def turned_without_a_word(rng, held, name):
    sizes = held[name].shape
    if "inputs" not in held or len(set(sizes)) < 3:
        return None
    order = chosen(rng, ((0, 2, 1), (2, 0, 1), (2, 1, 0), (1, 0, 2), (1, 2, 0)))
    return {name: held[name].transpose(order)}


def too_long(rng, held, name):
    return {"lengths": np.full(len(held[name]), held[name].shape[1] + 1)}


def masked_within(rng, held, name):
    mask = np.zeros(held[name].shape, bool)
    mask[1, 0, 0] = True
    return {name: np.ma.masked_array(held[name], mask)}


def of_another_type(rng, held, name):
    with np.errstate(over="ignore"):
        return {name: held[name].astype(chosen(rng, ("float16", "complex64", "U8")))}


def choices_wrong(rng, held, name):
    choices = np.zeros(len(held[name]))
    choices[0] = chosen(rng, (np.nan, 0.5, np.inf))
    return {"choices": chosen(rng, (choices, choices[:-1]))}


def constant_neuron(rng, held, name):
    signal = held[name].copy()
    signal[:, :, -1] = 1
    return {name: signal}


WRONG = [
    *(with_number(value) for value in (np.nan, np.inf, -1.0, 0.5)),
    in_milliseconds, turned_without_a_word, too_long, masked_within, of_another_type, choices_wrong,
    constant_neuron,
]  # fmt: skip


# --- files


def in_npz(rng, held, name, folder):
    keys = {"inputs": "externalinputs"}
    kept = {
        keys.get(k, k): v for k, v in held.items() if k not in ("bin_width", "neurons", "plausible_rates")
    }
    width, n_time = held["bin_width"], held[name].shape[1]
    said = chosen(rng, ("bin_width", "dt", "ms", "axis", "samples", "argument"))
    if said in ("axis", "samples") and n_time in (len(held[name]), len(held[name]) - 1):
        said = "dt"
    kept |= {
        "bin_width": {"bin_width": width},
        "dt": {"dt": np.float32(width)},
        "ms": {"bin_width_ms": 1000 * width},
        "axis": {"times": rng.integers(-5, 5) + width * np.arange(n_time)},
        "samples": {"times": round(30_000 * width) * np.arange(n_time), "fs": 30_000},
        "argument": {},
    }[said]
    np.savez(folder / "a.npz", **kept)
    how = {"bin_width": width} if said == "argument" else {}
    return Recording.from_npz(folder / "a.npz", plausible_rates=(0, np.inf), **how)


def in_nwb(rng, held, name, folder):
    if name == "rates" or held[name].max() > 50:
        return None
    width, shape = held["bin_width"], held[name].shape
    lengths = held.get("lengths", np.full(shape[0], shape[1]))
    zero = chosen(rng, (0.0, 12.0, 3600.0))
    starts = zero + np.round(np.cumsum(rng.uniform(1.2, 3, shape[0]) * (shape[1] * width)), 4)
    units = []
    for i in range(shape[2]):
        times = [
            start + width * (np.repeat(np.arange(n), row[:n, i]) + rng.uniform(0.1, 0.9, row[:n, i].sum()))
            for start, row, n in zip(starts, held[name], lengths, strict=True)
        ]
        units.append(np.sort(np.concatenate([*times, [starts[-1] + 3 * shape[1] * width]])))
    columns = {"choice": held["choices"]} if "choices" in held else {}
    names = {"unit_name": held["neurons"]} if "neurons" in held else {}
    write(folder / "a.nwb", units, starts, starts + lengths * width, columns=columns, unit_columns=names)
    return Recording.from_nwb(folder / "a.nwb", bin_width=width, plausible_rates=(0, np.inf))


def in_mat(rng, held, name, folder):
    if name == "rates":
        return None
    lengths = held.get("lengths", np.full(len(held[name]), held[name].shape[1]))

    def trains(i):
        found = np.empty(held[name].shape[2], object)
        found[:] = list(held[name][i, : lengths[i]].T)
        return found

    parts = {
        "ntimesteps": lambda i: lengths[i],
        "spiketrains": trains,
        "choice": lambda i: held.get("choices", np.arange(99) % 2)[i],
        "clicktimes": lambda i: {"L": np.zeros(0), "R": np.zeros(0)},
    }
    write_mat(folder / "a.mat", n_trials=len(lengths), n_neurons=held[name].shape[2], **parts)
    return Recording.from_mat(folder / "a.mat", plausible_rates=(0, np.inf))


FILES = [in_npz, in_npz, in_nwb, in_mat]


# --- the comparison


def expected(held, name):
    """What the recording is to be, by another way than its own."""
    signal = held[name].copy()
    lengths = held.get("lengths", np.full(len(signal), signal.shape[1]))
    for row, length in zip(signal, lengths, strict=True):
        row[length:] = 0
    return signal, lengths


def check(found, held, name, *, of=("bin_width", "inputs", "choices", "neurons")):
    signal, lengths = expected(held, name)
    np.testing.assert_array_equal(found.lengths, lengths)
    np.testing.assert_array_equal(found.signal, signal[:, : found.n_time])
    assert not signal[:, found.n_time :].any()
    assert np.isfinite(found.signal).all() and np.isfinite(found.mean_rates).all()
    assert found.signal.dtype == (signal.dtype if name == "rates" else found.spikes.dtype)
    if "bin_width" in of:
        assert found.bin_width == held["bin_width"]
    if "inputs" in of:
        assert (found.inputs is None) == ("inputs" not in held)
        if "inputs" in held:
            inside = np.arange(found.n_time) < lengths[:, None]
            heard = held["inputs"][:, : found.n_time]
            np.testing.assert_array_equal(found.inputs, np.where(inside[:, :, None], heard, 0))
    if "choices" in of and "choices" in held:
        np.testing.assert_array_equal(found.choices, held["choices"])
    if "neurons" in of and "neurons" in held:
        assert found.neurons == tuple(held["neurons"])


def one(seed, folder=None):
    """What became of a recording: the same, or refused."""
    rng = np.random.default_rng(seed)
    held = generated(rng)
    name = name_of(held)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if folder is not None:
            how = chosen(rng, FILES)
            found = how(rng, held, name, folder)
            if found is not None:
                left_out = {
                    in_npz: {"neurons"},
                    in_nwb: {"inputs"},
                    in_mat: {"inputs", "neurons", "bin_width"},
                }
                check(found, held, name, of={"bin_width", "inputs", "choices", "neurons"} - left_out[how])
            became = None if found is None else how.__name__
        elif rng.random() < 0.7:
            how = chosen(rng, CONTAINERS)
            given = how(rng, held, name)
            if given is not None:
                given = held | given
                check(Recording(**{k: v for k, v in given.items() if v is not None}), held, name)
            became = None if given is None else how.__name__
        else:
            how = chosen(rng, WRONG)
            given = how(rng, held, name)
            if given is not None:
                with pytest.raises((ValueError, TypeError), match=r"expected .*got |give |has no attr"):
                    Recording(**(held | given))
            became = None if given is None else "refused"
    assert time.monotonic() - start < 10
    return became


def test_generated_recordings_are_the_same_in_any_container():
    became = [one(seed) for seed in range(300)]
    assert set(became) - {None} == {how.__name__ for how in CONTAINERS} | {"refused"}
    assert sum(one is not None for one in became) > 200


def test_generated_recordings_are_the_same_from_files(tmp_path):
    pytest.importorskip("pynwb")
    became = [one(seed, tmp_path) for seed in range(40)]
    assert set(became) - {None} == {how.__name__ for how in FILES}


@pytest.mark.slow
def test_two_thousand_generated_recordings(tmp_path):
    pytest.importorskip("pynwb")
    became = [one(seed, tmp_path if seed % 4 == 0 else None) for seed in range(10_000, 12_700)]
    assert sum(one is not None for one in became) >= 2000
