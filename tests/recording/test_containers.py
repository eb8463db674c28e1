"""What numbers come in: taken as they are meant, or refused with the line that helps."""

import numpy as np
import pytest
import scipy.sparse
from recordings import LENGTHS, K, N, S, T, counts, parts

from lrcore.recording import Recording

MASK = np.arange(T) < LENGTHS[:, None]
PLAIN = {"inputs": None, "choices": None, "lengths": None}


def trials(array=None):
    """The trials of an array without their padding."""
    array = counts() if array is None else array
    return [row[:length] for row, length in zip(array, LENGTHS, strict=True)]


def same(found, expected=None):
    expected = Recording(**parts()) if expected is None else expected
    np.testing.assert_array_equal(found.signal, expected.signal)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    return found


class Tensor:
    """What torch's tensors are asked for."""

    def __init__(self, array, *, is_sparse=False):
        self.array, self.is_sparse, self.shape = array, is_sparse, array.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def to_dense(self):
        return Tensor(self.array)

    def numpy(self):
        if self.is_sparse:
            raise TypeError("can't convert Sparse tensor to numpy")
        return self.array

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy().")


# --- a list with each trial

LISTS = {
    "arrays": lambda t: t,
    "floats": lambda t: [one.astype("float32") for one in t],
    "mixed types": lambda t: [
        one.astype(kind) for one, kind in zip(t, ["int8", "uint16", "float64"] * 4, strict=True)
    ],
    "tuple": tuple,
    "cells": lambda t: np.array([*t, None], object)[:-1],
    "sparse matrices": lambda t: [scipy.sparse.csr_matrix(one) for one in t],
    "sparse arrays": lambda t: [scipy.sparse.coo_array(one) for one in t],
    "tensors": lambda t: [Tensor(one) for one in t],
    "masked without a mask": lambda t: [np.ma.masked_array(one) for one in t],
}


@pytest.mark.parametrize("made", LISTS.values(), ids=LISTS.keys())
def test_trials_of_their_own_lengths(made):
    same(Recording(spikes=made(trials()), **{k: v for k, v in parts().items() if k in ("inputs", "choices")}))
    found = Recording(spikes=made(trials()), inputs=made(trials(parts()["inputs"])))
    np.testing.assert_array_equal(same(found).inputs, Recording(**parts()).inputs)
    assert Recording(spikes=made(trials()), lengths=LENGTHS).n_trials == S
    equal = Recording(spikes=made(list(counts())))
    assert equal.n_time == T and (equal.lengths == T).all()


def test_tables_of_each_trial_have_the_names():
    pandas = pytest.importorskip("pandas")
    tables = [pandas.DataFrame(one, columns=list("abcde")) for one in trials()]
    assert same(Recording(spikes=tables)).neurons == tuple("abcde")
    assert same(Recording(spikes=[one.rename(columns=str.upper) for one in tables])).neurons == tuple("ABCDE")
    numbered = [pandas.DataFrame(one).astype("Int64") for one in trials()]
    assert same(Recording(spikes=numbered)).neurons is None
    with pytest.raises(ValueError, match=r"got 'time' among them: drop it, one\.drop\(columns='time'\)"):
        Recording(spikes=[one.assign(time=np.arange(len(one))) for one in tables])
    tables[3] = tables[3][list("edcba")]
    with pytest.raises(ValueError, match=r"the same neurons, in the same order.*got \['e', .* in trial 3"):
        Recording(spikes=tables)


def test_trials_that_do_not_fit_together():
    with pytest.raises(
        ValueError, match=r"got shape \(20, 5\) in trial 0 and \(21, 4\) in trial 1: each trial"
    ):
        Recording(spikes=[counts()[0, :20], counts()[1, :21, :4], *trials()[2:]])
    with pytest.raises(ValueError, match=r"seem to be \(neuron, time\): give the transpose of each"):
        Recording(spikes=[one.T for one in trials()])
    same(Recording(spikes=[one.T for one in trials()], axes=("trial", "neuron", "time")))
    with pytest.raises(ValueError, match="lengths: expected the lengths of the trials in `spikes`"):
        Recording(spikes=trials(), lengths=LENGTHS - 1)
    with pytest.raises(ValueError, match="inputs: expected as many bins as the trials have"):
        Recording(spikes=trials(), inputs=[np.ones((10, K))] + [np.ones((n, K)) for n in LENGTHS[1:]])
    with pytest.raises(ValueError, match="trials without masked values, got some in trial 2"):
        Recording(spikes=[np.ma.masked_equal(one, 1) if i == 2 else one for i, one in enumerate(trials())])
    with pytest.raises(ValueError, match="at least 2 time bins in every trial, got 1"):
        Recording(spikes=[counts()[0, :1], *trials()[1:]])


# --- masked arrays


def masked(mask, array=None, fill=-999):
    array = counts().astype(float) if array is None else array
    mask = np.broadcast_to(mask, array.shape)
    return np.ma.masked_array(np.where(mask, fill, array), mask)


@pytest.mark.parametrize("fill", [-999, 0, 10**6])
def test_masked_padding_gives_the_lengths(fill):
    beyond = ~MASK[:, :, None]
    same(Recording(spikes=masked(beyond, fill=fill)))
    same(Recording(spikes=masked(beyond, fill=fill), lengths=LENGTHS))
    rates = Recording(rates=masked(beyond, fill=fill))
    np.testing.assert_allclose(rates.mean_rates, counts()[MASK].mean(axis=0))
    inputs = masked(beyond, np.array(parts()["inputs"], float), fill)
    found = Recording(spikes=masked(beyond, fill=fill), inputs=inputs)
    np.testing.assert_array_equal(found.inputs, Recording(**parts()).inputs)
    turned = np.ma.transpose(masked(beyond, fill=fill), (2, 0, 1))
    same(Recording(spikes=turned, axes="neuron trial time"))
    same(Recording(spikes=masked(False), lengths=LENGTHS))


def test_values_masked_within_trials_are_refused():
    hole = np.zeros((S, T, N), bool)
    hole[3, 4:6, 1] = True
    words = r"got 2 masked values within the trials, the first at .* = \(3, 4, 1\), in 1 of 5 neurons"
    for what in (
        {"spikes": masked(hole)},
        {"rates": masked(hole)},
        {"spikes": masked(hole), "lengths": LENGTHS},
    ):
        with pytest.raises(ValueError, match=words):
            Recording(**what)
    with pytest.raises(ValueError, match="masked values within the trials"):
        Recording(spikes=masked(np.arange(T)[:, None] < 3))
    with pytest.raises(ValueError, match="masked values within the trials"):
        Recording(spikes=masked(~MASK[:, :, None]), lengths=LENGTHS + (LENGTHS < T))
    with pytest.raises(ValueError, match="got 0 in trial 2"):
        Recording(spikes=masked(np.arange(S)[:, None, None] == 2))


@pytest.mark.parametrize("name", ["choices", "lengths"])
def test_masked_values_of_trials_are_refused(name):
    value = np.ma.masked_array(parts()[name], np.arange(S) == 4)
    with pytest.raises(
        ValueError, match=rf"{name}: expected a value for each trial, got 1 masked, .* \(4,\)"
    ):
        Recording(**parts(**{name: value}))
    with pytest.raises(ValueError, match=r"info\['gamma'\]: expected a value for each trial, got 1 masked"):
        Recording(**parts(info={"gamma": np.ma.masked_array(np.ones(S), np.arange(S) == 4)}))
    same(Recording(**parts(**{name: np.ma.masked_array(parts()[name])})))


# --- others


def test_tensors_and_labelled_and_three_dimensional_sparse_arrays():
    same(Recording(**parts(spikes=Tensor(counts()))))
    same(Recording(**parts(spikes=Tensor(counts(), is_sparse=True))))
    same(Recording(**parts(choices=Tensor(parts()["choices"]))))
    same(Recording(**parts(spikes=scipy.sparse.coo_array(counts()))))
    xarray = pytest.importorskip("xarray")
    named = xarray.DataArray(counts(), dims=("trial", "time", "unit"), coords={"unit": list("abcde")})
    assert same(Recording(**parts(spikes=named))).neurons == tuple("abcde")
    for order in (("unit", "trial", "time"), ("time", "unit", "trial")):
        same(Recording(**parts(spikes=named.transpose(*order))))
        same(Recording(**parts(spikes=named.transpose(*order), axes=order)))
    condition = named.rename(trial="condition").transpose("unit", "time", "condition")
    assert same(Recording(**parts(spikes=condition))).neurons == tuple("abcde")
    with pytest.raises(TypeError, match="got a Dataset: give one of its variables, counts"):
        Recording(spikes=xarray.Dataset({"counts": named}))
    node = named.rename(unit="node").transpose("node", "time", "trial")
    same(Recording(**parts(spikes=node)))
    same(Recording(**parts(spikes=xarray.DataArray(counts()))))
    heard = xarray.DataArray(parts()["inputs"], dims=("trial", "time", "side")).transpose("side", ...)
    np.testing.assert_array_equal(Recording(**parts(inputs=heard)).inputs, Recording(**parts()).inputs)
    with pytest.raises(ValueError, match="axes: expected the order of the dimensions"):
        Recording(**parts(spikes=named, axes=("unit", "trial", "time")))


class Quantity:
    """What is asked of numbers with a unit, as quantities, pint and astropy have them."""

    def __init__(self, magnitude, unit, *, astropy=False):
        self.magnitude, self.shape = magnitude, np.shape(magnitude)
        if astropy:
            del self.magnitude
            self.value, self.unit, self.to_value = magnitude, unit, lambda unit: magnitude
        else:
            self.units = unit

    def __float__(self):
        return float(self.magnitude)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.magnitude)


@pytest.mark.parametrize("astropy", [False, True], ids=["quantities", "astropy"])
def test_numbers_with_a_unit_are_refused(astropy):
    for name, value, unit in (
        ("bin_width", 0.5, "ms"),
        ("rates", counts() / 10.0, "kHz"),
        ("choices", parts()["choices"], "side"),
        ("lengths", LENGTHS, "s"),
    ):
        given = parts(**{name: Quantity(value, unit, astropy=astropy)})
        given |= {"spikes": None} if name == "rates" else {}
        with pytest.raises(
            TypeError, match=rf"{name}: expected plain numbers, .* got a quantity in {unit}: conv"
        ):
            Recording(**given)


def test_one_matrix_or_table_is_refused_with_what_helps():
    with pytest.raises(ValueError, match=r"got one sparse matrix of shape .*list with the .* \.toarray\(\)"):
        Recording(spikes=scipy.sparse.csr_matrix(counts()[0]))
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(counts().reshape(S * T, N)).assign(trial=np.repeat(np.arange(S), T))
    with pytest.raises(
        TypeError, match=r"got a table \(DataFrame\): give .* for _, one in table.groupby\('trial'\)"
    ):
        Recording(spikes=table)
    told = [one.drop(columns="trial") for _, one in table.groupby("trial")]
    np.testing.assert_array_equal(Recording(spikes=told).spikes, counts())
    with pytest.raises(TypeError, match="expected an array of numbers .* got dict"):
        Recording(spikes={i: one for i, one in enumerate(counts())})
    with pytest.raises(
        ValueError, match=r"expected axes \(trial, time, neuron\), got a masked array of shape"
    ):
        Recording(spikes=masked(True, counts()[0]))


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_inputs_beyond_single_precision_are_refused(kind):
    inputs = np.ones((S, T, K), kind)
    inputs[2, 3, 1] = 1e39 if kind == "float64" else np.inf
    with pytest.raises(ValueError, match=r"inputs: expected finite numbers, .* index \(2, 3, 1\)"):
        Recording(**parts(inputs=inputs))


def test_nobody_else_changes_a_recording():
    for kind in ("int8", "int64"):
        spikes = counts().astype(kind)
        found = Recording(spikes=spikes)
        spikes[:] = 3
        np.testing.assert_array_equal(found.spikes, counts())
    listed = list(counts().astype("int8"))
    found = Recording(spikes=listed)
    listed[0][:] = 3
    np.testing.assert_array_equal(found.spikes, counts())
