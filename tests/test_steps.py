"""What is regressed on: which steps are taken, which arrays are refused, and the way out that is named."""

import subprocess
import sys
import textwrap

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrcore as lr
from lrcore import steps as door
from lrcore.steps import drift_target
from lrcore.steps import given as given_steps

ALPHA = 0.1


def arrays(trials=6, time=15, rank=2, n_inputs=3, seed=0) -> tuple:
    """Latents (trial, time, rank) and inputs of their steps."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(trials, time, rank)), rng.normal(size=(trials, time - 1, n_inputs))


def unequal() -> tuple:
    """The same with lengths, and NaN and infinity beyond them."""
    z, u = arrays()
    lengths = np.array([15, 4, 9, 2, 15, 11])
    for trial, length in enumerate(lengths):
        z[trial, length:] = np.nan
        u[trial, length - 1 :] = np.inf
    return z, u, lengths


def same(one: lr.Steps, other: lr.Steps) -> None:
    for name in ("z", "u", "y", "trial", "alpha", "copies"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_function_and_the_class_are_at_the_top():
    assert lr.steps is door and callable(door) and lr.Steps is type(lr.steps(arrays()[0], alpha=ALPHA))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, jnp.float32], ids=str)
def test_steps_go_from_each_time_to_the_next(kind):
    z, u = arrays()
    z = kind(10 * z) if kind is jnp.float32 else (10 * z).astype(kind)
    found = lr.steps(z, inputs=u, alpha=ALPHA)
    here, ahead = (np.asarray(part, float).reshape(-1, 2) for part in (z[:, :-1], z[:, 1:]))
    np.testing.assert_array_equal(found.z, here)
    np.testing.assert_array_equal(found.u, u.reshape(-1, 3))
    np.testing.assert_allclose(found.y, (ahead - 0.9 * here) / 0.1)
    np.testing.assert_array_equal(found.trial, np.repeat(np.arange(6), 14))
    assert len(found) == found.measured == 84
    assert (found.rank, found.n_inputs, found.n_trials, found.alpha, found.copies) == (2, 3, 6, ALPHA, 1)
    assert all(part.dtype == np.float64 for part in (found.z, found.u, found.y))


def test_steps_of_a_network_are_its_drift():
    network = lr.systems.ring().sample(jr.key(0), 50)
    z = network.simulate(lr.systems.grid(4), None, 0.1, 20)
    found = lr.steps(z, alpha=0.1)
    np.testing.assert_allclose(found.y, network.drift(found.z), atol=1e-4)
    np.testing.assert_allclose(drift_target(z[:, :-1], z[:, 1:], 0.1), network.drift(z[:, :-1]), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.lists(st.integers(2, 9), min_size=1, max_size=5), st.booleans())
def test_padding_is_never_looked_at(seed, lengths, with_inputs):
    z, u = arrays(len(lengths), 9, seed=seed)
    beyond = np.arange(9) >= np.array(lengths)[:, None]
    padded, padded_inputs = z.copy(), u.copy()
    padded[beyond], padded_inputs[beyond[:, 1:]] = np.nan, -np.inf
    inputs = (u, padded_inputs) if with_inputs else (None, None)
    one, other = (
        lr.steps(x, inputs=v, lengths=lengths, alpha=ALPHA) for x, v in zip((z, padded), inputs, strict=True)
    )
    same(one, other)
    # Trial by trial, as if each were alone.
    each = [
        lr.steps(z[i, :n], inputs=u[i, : n - 1] if with_inputs else None, alpha=ALPHA)
        for i, n in enumerate(lengths)
    ]
    same(one, lr.Steps.concatenate(each))
    assert len(one) == sum(lengths) - len(lengths)


def test_inputs_of_the_same_length_as_the_latents_lose_their_last():
    z, u = arrays()
    longer = np.concatenate([u, np.full((6, 1, 3), np.nan)], axis=1)
    same(lr.steps(z, inputs=u, alpha=ALPHA), lr.steps(z, inputs=longer, alpha=ALPHA))
    # Of one trial as well, without the axis of the trials.
    same(lr.steps(z[:1], inputs=u[:1], alpha=ALPHA), lr.steps(z[0], inputs=longer[0], alpha=ALPHA))


def test_drifts_of_ones_own_take_the_place_of_the_next_state():
    z, u, lengths = unequal()
    drift = np.where(np.arange(14)[:, None] < lengths[:, None, None] - 1, 7.0, np.nan) * np.ones(2)
    found = lr.steps(z, inputs=u, lengths=lengths, drift=drift, alpha=ALPHA)
    assert (found.y == 7).all()
    np.testing.assert_array_equal(found.z, lr.steps(z, inputs=u, lengths=lengths, alpha=ALPHA).z)


def test_copies_of_a_trial_have_one_number_and_are_one_measurement():
    z, u, lengths = unequal()
    options = {"inputs": np.tile(u, (3, 1, 1)), "lengths": np.tile(lengths, 3), "alpha": ALPHA}
    found = lr.steps(np.tile(z, (3, 1, 1)), copies=3, **options)
    once = lr.steps(z, inputs=u, lengths=lengths, alpha=ALPHA)
    np.testing.assert_array_equal(found.trial, np.tile(once.trial, 3))
    assert (found.n_trials, found.measured, len(found)) == (6, len(once), 3 * len(once))
    # Held out together: a part of the trials is the same part of every copy.
    some = found.of_trials([0, 4])
    np.testing.assert_array_equal(some.z, np.tile(once.of_trials([0, 4]).z, (3, 1)))
    assert (some.copies, some.measured) == (3, len(once.of_trials([0, 4])))


# --- parts of steps


def test_some_trials():
    z, u, lengths = unequal()
    found = lr.steps(z, inputs=u, lengths=lengths, alpha=ALPHA)
    rows = np.isin(found.trial, (1, 5))
    some = found.of_trials([5, 1])
    for name in ("z", "u", "y", "trial"):
        np.testing.assert_array_equal(getattr(some, name), getattr(found, name)[rows])
    same(some, found.of_trials(np.isin(np.arange(6), (1, 5))))
    same(found.of_trials(3), found.of_trials([3]))
    assert len(found.of_trials(3)) == 1
    # Numbers stay what they were.
    same(some.of_trials([5]), found.of_trials([5]))
    for wrong, words in (
        ([6], "6, which has no steps"),
        ([], "none"),
        ([-1], "-1"),
        (np.zeros(6, bool), "none"),
    ):
        with pytest.raises(
            ValueError, match=f"^trials: expected numbers of the 6 trials that there are, got {words}"
        ):
            found.of_trials(wrong)


def test_some_steps():
    z, _ = arrays(10, 101)
    found = lr.steps(z, alpha=ALPHA)
    few = found.thinned(250)
    np.testing.assert_array_equal(few.z, found.z[::4])
    np.testing.assert_array_equal(few.y, found.y[::4])
    np.testing.assert_array_equal(few.trial, found.trial[::4])
    assert len(few) == 250 and found.thinned(1000) is found and len(found.thinned(999)) == 500
    copied = lr.steps(np.tile(z, (2, 1, 1)), alpha=ALPHA, copies=2)
    # A copy of a step is no other measurement: those that are kept are kept with their copies.
    few = copied.thinned(500)
    assert copied.thinned(1000) is copied and few.copies == 2 and few.measured == 500
    np.testing.assert_array_equal(few.trial[:500], few.trial[500:])
    np.testing.assert_array_equal(few.z[:500], few.z[500:])
    with pytest.raises(ValueError, match="^most: expected at least 1"):
        found.thinned(0)


def test_explored_states():
    z, u = arrays(10, 101)
    found = lr.steps(z, inputs=u, alpha=ALPHA)
    states, inputs = found.explored()
    assert states is found.z or np.array_equal(states, found.z)
    np.testing.assert_array_equal(inputs, found.u)
    states, inputs = found.explored(300)
    np.testing.assert_array_equal(states, found.z[::4])
    np.testing.assert_array_equal(inputs, found.u[::4])


def test_steps_of_several_recordings():
    (z, u), (more, driven) = arrays(), arrays(3, 8, seed=1)
    one, other = lr.steps(z, inputs=u, alpha=ALPHA), lr.steps(more, inputs=driven, alpha=ALPHA)
    both = lr.Steps.concatenate([one, other])
    twice = [lr.steps(np.concatenate([x, x + 1]), alpha=ALPHA, copies=2) for x in (z, more)]
    copied = lr.Steps.concatenate(twice)
    # Copies still stand one after another, step by step.
    np.testing.assert_array_equal(copied.trial[: copied.measured], copied.trial[copied.measured :])
    np.testing.assert_allclose(copied.z[: copied.measured] + 1, copied.z[copied.measured :], atol=1e-6)
    assert len(both) == len(one) + len(other) and both.n_trials == 9
    same(both.of_trials(np.arange(6)), one)
    np.testing.assert_array_equal(both.of_trials([6, 7, 8]).y, other.y)
    same(lr.Steps.concatenate([one]), one)
    # Trials that were left out of the first take no numbers of the second.
    assert lr.Steps.concatenate([one.of_trials([5]), other]).n_trials == 4
    for wrong, words in (
        (lr.steps(more[..., :1], inputs=driven, alpha=ALPHA), "rank, got 2 and 1"),
        (lr.steps(more, alpha=ALPHA), "n_inputs, got 3 and 0"),
        (lr.steps(more, inputs=driven, alpha=0.2), "alpha, got 0.1 and 0.2"),
        (
            lr.steps(np.tile(more, (2, 1, 1)), inputs=np.tile(driven, (2, 1, 1)), alpha=ALPHA, copies=2),
            "copies",
        ),
    ):
        with pytest.raises(ValueError, match=f"^parts: expected steps of the same {words}"):
            lr.Steps.concatenate([one, wrong])
    with pytest.raises(ValueError, match="^parts: expected at least one, got none"):
        lr.Steps.concatenate([])


def test_repr_is_short_and_says_what_there_is():
    z = np.zeros((60, 41, 2))
    z[:, ::2, 0] = 2.0
    text = repr(lr.steps(z, lengths=[41] * 60, alpha=0.1))
    first, states, drift = text.splitlines()
    assert first == "Steps: 2,400 in 60 trials, of rank 2, without inputs; alpha 0.1"
    assert states == "states     standard deviation 1 x 0"
    # From 2 to 0 and from 0 to 2 in turn: drifts of -18 and 20.
    assert drift == f"drift      root mean square {np.sqrt((18**2 + 20**2) / 2):.3g} x 0"
    z, u = arrays()
    text = repr(lr.steps(np.tile(z, (2, 1, 1)), inputs=np.tile(u, (2, 1, 1)), alpha=1.0, copies=2))
    assert "6 trials, 2 copies of each, of rank 2, with 3 inputs; alpha 1" in text


# --- the door


def test_padded_zeros_are_refused_and_lengths_are_the_way_out():
    z, _ = arrays()
    z[2, 10:] = z[4, 7:] = 0
    with pytest.raises(
        ValueError,
        match=r"exact zeros at the end of 2 of 6 trials, in trial 2 after 10 of 15 times: give `lengths`",
    ):
        lr.steps(z, alpha=ALPHA)
    lengths = np.array([15, 15, 10, 15, 7, 15])
    assert len(lr.steps(z, lengths=lengths, alpha=ALPHA)) == lengths.sum() - 6
    # Zeros that are states are taken where the full lengths are given.
    assert len(lr.steps(z, lengths=[15] * 6, alpha=ALPHA)) == 84
    # A trial that rests at 0 throughout, and one that passes it, are no padding.
    z, _ = arrays()
    z[1], z[3, 5] = 0, 0
    assert len(lr.steps(z, alpha=ALPHA)) == 84
    # One coordinate may end at 0.
    z[:, 10:, 1] = 0
    assert len(lr.steps(z, alpha=ALPHA)) == 84


def refused(change=lambda z: z, alpha=ALPHA, inputs=True, **options):
    z, u = arrays()
    inputs = u if inputs is True else inputs(u) if callable(inputs) else inputs
    return lr.steps(change(z), alpha=alpha, inputs=inputs, **options)


BAD = {
    "float16": (lambda: refused(lambda z: z.astype(np.float16)), TypeError, "^latents: expected.*float16"),
    "text": (lambda: refused(lambda z: "z"), TypeError, "^latents: expected real numbers"),
    "ragged": (
        lambda: refused(lambda z: [z[0], z[1, :4]]),
        ValueError,
        "^latents: expected an array.*ragged sequence: pad unequal trials to one length and give `lengths`",
    ),
    "nan": (lambda: refused(lambda z: np.full_like(z, np.nan)), ValueError, "^latents: expected finite"),
    "nan within a length": (
        lambda: refused(
            lambda z: np.where(np.arange(15)[:, None] == 5, np.nan, z), lengths=[15, 3, 3, 3, 3, 3]
        ),
        ValueError,
        r"^latents: expected finite numbers.*\(0, 5, 0\)",
    ),
    "axes": (
        lambda: refused(lambda z: z[None]),
        ValueError,
        r"^latents: expected axes \(trial, time, rank\)",
    ),
    "one axis": (
        lambda: refused(lambda z: z[0, 0]),
        ValueError,
        r"^latents: expected axes \(\.\.\., time, rank\)",
    ),
    "no rank": (
        lambda: refused(lambda z: z[..., :0]),
        ValueError,
        r"^latents: expected axes \(trial, time, rank\)",
    ),
    "no trials": (
        lambda: refused(lambda z: z[:0], inputs=None),
        ValueError,
        "expected states|expected at least",
    ),
    "one bin": (lambda: refused(lambda z: z[:, :1]), ValueError, "^lengths: expected at least 2 time bins"),
    "length 1": (
        lambda: refused(lengths=[15, 1, 15, 15, 15, 15]),
        ValueError,
        "^lengths: expected at least 2",
    ),
    "length 0": (
        lambda: refused(lengths=[15, 0, 15, 15, 15, 15]),
        ValueError,
        "^lengths: expected at least 2",
    ),
    "length beyond": (lambda: refused(lengths=[16] * 6), ValueError, "^lengths: expected at most 15"),
    "lengths of other trials": (
        lambda: refused(lengths=[15] * 5),
        ValueError,
        "^lengths: expected one length",
    ),
    "inputs of another length": (
        lambda: refused(inputs=lambda u: u[:, :-1]),
        ValueError,
        "^inputs: expected 14 along the axis 'time - 1'",
    ),
    "inputs of other trials": (
        lambda: refused(inputs=lambda u: u[1:]),
        ValueError,
        "^inputs: expected 6 along the axis 'trial'",
    ),
    "inputs of one axis": (lambda: refused(inputs=np.zeros(14)), ValueError, "^inputs: expected axes"),
    "nan in inputs": (lambda: refused(inputs=lambda u: u * np.nan), ValueError, "^inputs: expected finite"),
    "drift of another length": (
        lambda: refused(drift=np.zeros((6, 15, 2))),
        ValueError,
        "^drift: expected 14 along the axis 'time - 1'",
    ),
    "drift of another rank": (
        lambda: refused(drift=np.zeros((6, 14, 1))),
        ValueError,
        "^drift: expected 2 along the axis 'rank'",
    ),
    "nan in drift": (
        lambda: refused(drift=np.full((6, 14, 2), np.nan)),
        ValueError,
        "^drift: expected finite",
    ),
    "alpha 0": (lambda: refused(alpha=0.0), ValueError, "^alpha: expected a positive"),
    "alpha beyond 1": (
        lambda: refused(alpha=1.5),
        ValueError,
        r"^alpha: expected a number in \(0, 1\], got 1.5",
    ),
    "copies": (lambda: refused(copies=4), ValueError, "^copies: expected a divisor of the 6 trials, got 4"),
    "no copies": (lambda: refused(copies=0), ValueError, "^copies: expected at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


def made(**changes) -> lr.Steps:
    parts = {"z": np.ones((6, 2)), "u": None, "y": np.ones((6, 2)), "trial": np.zeros(6, int), "alpha": ALPHA}
    return lr.Steps(**(parts | changes))


MADE_BAD = {
    "none": ({"z": np.zeros((0, 2))}, r"^z: expected states \(step, rank\), got none"),
    "no rank": ({"z": np.zeros((6, 0))}, r"^z: expected states \(step, rank\), got none"),
    "three axes": ({"z": np.zeros((2, 3, 2))}, r"^z: expected axes \(step, rank\)"),
    "nan": ({"z": np.full((6, 2), np.nan)}, "^z: expected finite"),
    "other inputs": ({"u": np.zeros((5, 1))}, "^u: expected 6 along the axis 'step'"),
    "other drifts": ({"y": np.zeros((6, 1))}, "^y: expected 2 along the axis 'rank'"),
    "other trials": ({"trial": np.zeros(5, int)}, "^trial: expected 6 along the axis 'step'"),
    "copies": ({"copies": 4}, "^copies: expected a divisor of the 6 steps, got 4"),
    "alpha": ({"alpha": 2.0}, r"^alpha: expected a number in \(0, 1\], got 2"),
}


@pytest.mark.parametrize("case", MADE_BAD)
def test_steps_that_are_none_cannot_be_made(case):
    changes, words = MADE_BAD[case]
    with pytest.raises(ValueError, match=words):
        made(**changes)


def test_what_is_not_steps_is_refused_with_the_way_to_make_them(clicks_session):
    session = clicks_session(0, 60)
    latents = lr.latents.smooth(session.recording, 2)
    assert given_steps(found := latents.steps()) is found
    for wrong, words in (
        (session.recording, "Recording"),
        (latents, "Latents"),
        (np.zeros((3, 5, 2)), r"ndarray of shape \(3, 5, 2\)"),
        (jnp.zeros((3, 5)), r"ArrayImpl of shape \(3, 5\)"),
        ([1, 2], "list"),
        (None, "NoneType"),
    ):
        with pytest.raises(
            TypeError,
            match=rf"^steps: expected lr.Steps, got {words}: .*latents.steps\(tau=.*fit.steps\(key\)",
        ):
            given_steps(wrong)
    with pytest.raises(
        TypeError,
        match=r"^latents: expected an array .*got Latents: latents have their own .steps\(\), which knows",
    ):
        lr.steps(latents, alpha=0.1)
    for wrong in (session.recording, found, session.network):
        with pytest.raises(
            TypeError, match=rf"^latents: .*got {type(wrong).__name__}: .* of a recording infer latents first"
        ):
            lr.steps(wrong, alpha=0.1)


UNCHECKED = """
    import jax.random as jr
    import numpy as np
    import lrcore as lr

    recording = lr.recording.clicks_session(jr.key(0), n_trials=20, n_neurons=5).recording
    latents = lr.latents.smooth(recording, 2)
    z, e = np.asarray(latents.z), latents.embedding
    for wrong in (recording, latents, z):
        for call in (
            lambda x: lr.maxent.fit(x, e),
            lambda x: lr.Connector.fit(x, e, key=jr.key(0)),
            lambda x: lr.identifiability.report(x, e, noise=0.1),
            lambda x: lr.identifiability.report(latents.steps(), e, noise=0.1, candidates=x),
        ):
            try:
                call(wrong)
            except TypeError as error:
                assert str(error).startswith(f"steps: expected lr.Steps, got {type(wrong).__name__}"), error
            else:
                raise AssertionError(type(wrong))
    for wrong, name in ((None, "NoneType"), (z, "ndarray")):
        try:
            lr.maxent.fit(latents.steps(), wrong)
        except TypeError as error:
            assert str(error).startswith(f"embedding: expected an lr.Embedding, got {name}"), error
    try:
        lr.identifiability.report(latents.steps(), noise=0.1)
    except TypeError as error:
        assert str(error).startswith("embedding: expected the recorded neurons' lr.Embedding beside"), error
"""


def test_every_fit_says_so_where_types_are_not_checked():
    """In a process of its own: here jaxtyping looks at the types first, and says it in its own words."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(UNCHECKED)], check=True)


def test_trials_are_whole_numbers_and_the_same_in_every_copy():
    z = np.random.default_rng(0).normal(size=(6, 2))
    for wrong in ([-1, -1, -1, 0, 0, 0], [0, 0, 0.5, 0.9, 1, 1]):
        with pytest.raises(ValueError, match="^trial: expected the whole number of a trial, 0 or more"):
            lr.Steps(z, None, z, wrong, alpha=ALPHA)
    for wrong in ([0, 0, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2]):
        with pytest.raises(ValueError, match="^trial: expected the same trials in each of the 2 copies"):
            lr.Steps(z, None, z, wrong, alpha=ALPHA, copies=2)


def test_what_is_no_array_of_numbers_is_named():
    for wrong, name in ((None, "NoneType"), ({"z": 1}, "dict")):
        with pytest.raises(TypeError, match=f"^latents: expected an array of numbers .* got {name}"):
            lr.steps(wrong, alpha=ALPHA)
