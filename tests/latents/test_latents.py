"""Latents: what they say of the rates, and the steps that they are."""

import jax.numpy as jnp
import numpy as np
import pytest

import lrcore as lr
from lrcore import checks


def made(**changes) -> lr.latents.Latents:
    """Latents of four trials of unequal length, 0 beyond."""
    rng = np.random.default_rng(0)
    lengths = np.array([9, 5, 2, 7])
    z = rng.normal(size=(4, 9, 2)) * checks.inside(lengths, 9)[..., None]
    parts = {
        "z": jnp.asarray(z, jnp.float32),
        "lengths": lengths,
        "embedding": lr.Embedding(rng.normal(size=(6, 2)), d=rng.normal(size=6)),
        "scale": jnp.asarray(rng.uniform(1, 9, 6), jnp.float32),
        "inputs": jnp.asarray(rng.normal(size=(4, 9, 3)), jnp.float32),
        "bin_width": 0.01,
        "activation": "softplus",
    }
    return lr.latents.Latents(**(parts | changes))


def test_rates_are_the_read_out():
    found = made()
    z, e = np.asarray(found.z, float), found.embedding
    m, d, scale = (np.asarray(part, float) for part in (e.m, e.d, found.scale))
    np.testing.assert_allclose(found.rates(), scale * np.logaddexp(0, z @ m.T + d), rtol=1e-4)
    assert found.rank == 2 and found.mask.sum() == 23


def test_steps_end_where_the_trials_do():
    found = made()
    steps = found.steps(tau=0.05)
    by_hand = lr.steps(np.asarray(found.z), lengths=found.lengths, alpha=0.2)
    for name in ("z", "u", "y", "trial"):
        np.testing.assert_allclose(getattr(steps, name), getattr(by_hand, name), rtol=1e-12)
    assert len(steps) == 19 and steps.alpha == pytest.approx(0.2) and steps.n_inputs == 0
    assert found.steps().alpha == pytest.approx(0.1)
    driven = found.steps(inputs=True)
    np.testing.assert_array_equal(driven.u, np.asarray(found.inputs)[:, :-1][found.mask[:, 1:]])


def test_latents_are_no_array_of_states():
    """Without their lengths their padding would be taken for states: neither way in allows it."""
    found = made()
    with pytest.raises(ValueError, match="exact zeros at the end of 3 of 4 trials.*such as latents.lengths"):
        lr.steps(found.z, alpha=0.1)
    with pytest.raises(
        TypeError, match=r"got Latents: latents have their own .steps\(\), which knows the lengths"
    ):
        lr.steps(found, alpha=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tau": 0.001}, "^tau: expected seconds, from a bin of 0.01 to 10, got 0.001: 100 ms is 0.1"),
        ({"tau": 100.0}, "^tau: expected seconds, from a bin of 0.01 to 10, got 100"),
        ({"tau": 0.0}, "^tau: expected a positive"),
        ({"inputs": True}, "^inputs: expected a recording with inputs, got one without"),
    ],
    ids=["shorter than a bin", "milliseconds", "zero", "no inputs"],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        made(inputs=None).steps(**options)
