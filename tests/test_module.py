"""Methods are functions to jax: compiled, within a jit and out of one, they give what they give plain."""

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore.distributions import Empirical

# Of the solver of a flow.
CLOSE = 5e-4
P = lr.systems.ring()
NETWORK = P.sample(jr.key(0), 30)
Z = np.asarray(lr.systems.grid(3), np.float32)
M, N = np.asarray(NETWORK.m), np.asarray(NETWORK.n)
PARTNER = lr.null_space_partner(P, lr.systems.grid(5), key=jr.key(0))

DISTRIBUTIONS = {
    "mixture": P,
    "empirical": Empirical(NETWORK),
    "gauged": lr.gauge.transform(Empirical(NETWORK), np.array([[2.0, 1.0], [0.0, 1.0]])),
}
CALLS = {
    "rates": (NETWORK.rates, Z),
    "drift": (NETWORK.drift, Z),
    "velocity": (NETWORK.velocity, Z),
    "potential": (NETWORK.embedding.potential, Z),
    "log_prob of a population": (lr.population.fit(M, key=jr.key(0), kind="mixture")[0].log_prob, M),
    "log_prob of a flow": (lr.Flow(2, width=8, depth=1, key=jr.key(0)).log_prob, M),
}
for name, one in DISTRIBUTIONS.items():
    CALLS[f"drift of {name}"] = one.drift, Z
    CALLS[f"conditional_mean of {name}"] = one.conditional_mean, M
    CALLS[f"log_prob of {name}"] = one.log_prob, M, None, None, N


@pytest.mark.parametrize("name", CALLS)
def test_a_compiled_method_gives_what_it_gives(name):
    method, *given = CALLS[name]
    plain = method(*given)
    np.testing.assert_allclose(jax.jit(method)(*given), plain, atol=CLOSE)
    # Within a jit, and twice there: jax asks whether they are equal, and no array is known.
    twice = jax.jit(lambda *x: jax.jit(method)(*x) + jax.jit(method)(*x))
    np.testing.assert_allclose(twice(*given), 2 * plain, atol=2 * CLOSE)
    np.testing.assert_allclose(eqx.filter_jit(method)(*given), plain, atol=CLOSE)


def test_a_method_is_that_of_its_object():
    """Another one of the same shape, or with the same numbers, is not taken for it."""
    other = lr.systems.limit_cycle()
    assert not np.allclose(jax.jit(P.drift)(Z), jax.jit(other.drift)(Z))
    assert P.drift == P.drift and hash(P.drift) == hash(P.drift)
    assert P.drift != lr.systems.ring().drift and P.drift != P.conditional_mean
    assert P.drift.__name__ == "drift" and P.drift.__doc__ == type(P).drift.__doc__


def test_a_method_is_a_pytree_of_its_numbers():
    """Where it is an argument, another object's needs no new compilation."""
    traced = []

    @eqx.filter_jit
    def run(drift, z):
        traced.append(1)
        return drift(z)

    for p in (P, lr.systems.limit_cycle(), P):
        np.testing.assert_allclose(run(p.drift, Z), p.drift(Z), atol=CLOSE)
    assert len(traced) == 1
    moved = jax.tree.map(lambda x: 2 * x, NETWORK.embedding.potential)
    np.testing.assert_allclose(moved(Z), 2 * NETWORK.embedding.potential(Z), rtol=1e-5)


def test_a_partner_says_what_a_jit_cannot_compute():
    np.testing.assert_allclose(jax.jit(PARTNER.drift)(Z), PARTNER.drift(Z), atol=CLOSE)
    for method, given in ((PARTNER.conditional_mean, (M,)), (PARTNER.log_prob, (M, None, None, N))):
        with pytest.raises(
            TypeError, match=r"^partner: expected numbers, got what jax traces, .*partner\.sample"
        ):
            jax.jit(method)(*given)
    with pytest.raises(TypeError, match=r"^partner: expected numbers"):
        eqx.filter_jit(PARTNER.drift)(Z)
