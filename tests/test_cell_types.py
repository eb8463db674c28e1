"""Cell types: laws against sums over types, labels at the door, and what a recording says of each type."""

import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import cell_types, systems
from lrcore.cell_types import CellTypes
from lrcore.distributions import GaussianMixture

STATES = np.stack([a.ravel() for a in np.meshgrid(np.linspace(0, 8, 9), np.linspace(-8, 0, 9))], axis=1)


@pytest.fixture(scope="module")
def apart() -> CellTypes:
    return systems.excitatory_inhibitory()


def test_the_drift_is_the_sum_over_types(apart):
    F = apart.drift(STATES, activation="sigmoid")
    each = [apart.of(label).drift(STATES, activation="sigmoid") for label in apart.labels]
    np.testing.assert_allclose(F, 0.8 * each[0] + 0.2 * each[1], rtol=1e-4, atol=1e-4)
    net, labels = apart.sample_labelled(jr.key(0), 20_000, activation="sigmoid")
    np.testing.assert_allclose(net.drift(STATES), F, atol=0.1)
    assert (labels == "E").mean() == pytest.approx(0.8)
    assert (apart.sample(jr.key(0), 50).n == apart.sample_labelled(jr.key(0), 50)[0].n).all()


def test_the_mean_without_labels_is_that_of_the_types_weighed(apart):
    both = systems.excitatory_inhibitory(apart=False)
    e = both.sample(jr.key(0), 30).embedding.array
    # Types with one embedding cannot be told apart by it: the drift sees their mean.
    np.testing.assert_allclose(both.posterior(e), np.tile([0.8, 0.2], (30, 1)), atol=1e-5)
    np.testing.assert_allclose(both.conditional_mean(e), np.tile([8.0, -8.0], (30, 1)), atol=1e-3)
    for p in (apart, both):
        of_types = np.stack([p.of(label).conditional_mean(e) for label in p.labels])
        mean = np.einsum("nc,cnr->nr", p.posterior(e), of_types)
        np.testing.assert_allclose(p.conditional_mean(e), mean, atol=1e-3)


def test_the_density_is_that_of_the_mixture(apart):
    net = apart.sample(jr.key(1), 20)
    e = net.embedding
    found = apart.log_prob(e.m, None, e.d, net.n)
    each = np.stack([apart.of(label).log_prob(e.m, None, e.d, net.n) for label in apart.labels])
    np.testing.assert_allclose(found, np.logaddexp(*(each + np.log([[0.8], [0.2]]))), rtol=1e-4)


def test_labels_add_no_equation_and_silencing_does():
    """Of types with one embedding, each type's own drift is a share pi of what is determined; silencing one
    determines both.
    """
    both = systems.excitatory_inhibitory(apart=False)
    net, labels = both.sample_labelled(jr.key(0), 400, activation="sigmoid")
    before = cell_types.separated(net, labels, STATES)
    assert before["E"] == pytest.approx(0.8, abs=0.04) and before["I"] == pytest.approx(0.2, abs=0.04)
    after = cell_types.separated(net, labels, STATES, silenced=["I"])
    assert min(after.values()) > 0.999
    # Random labels are like that too; types that differ in e are not.
    mixed = np.random.default_rng(0).permutation(labels)
    assert cell_types.separated(net, mixed, STATES)["I"] < 0.3
    net, labels = systems.excitatory_inhibitory().sample_labelled(jr.key(0), 400, activation="sigmoid")
    assert min(cell_types.separated(net, labels, STATES).values()) > 0.98


def one(mean=0.0, rank=1) -> GaussianMixture:
    return GaussianMixture([1.0], np.full((1, 2 * rank), mean), np.eye(2 * rank)[None])


BAD = {
    "sum": (lambda: CellTypes({"E": one(), "I": one()}, {"E": 0.8, "I": 0.3}), "^shares: .* the sum 1.1 of"),
    "missing share": (lambda: CellTypes({"E": one(), "I": one()}, {"E": 1.0}), "^shares: expected one for"),
    "negative": (lambda: CellTypes({"E": one(), "I": one()}, {"E": 1.2, "I": -0.2}), r"^shares\['I'\]: "),
    "none": (lambda: CellTypes({}, {}), "^shares: expected one for each of the types"),
    "other rank": (
        lambda: CellTypes({"E": one(), "I": one(rank=2)}, {"E": 0.5, "I": 0.5}),
        "^parts: expected one rank",
    ),
    "unknown label": (
        lambda: systems.excitatory_inhibitory().of("PV"),
        "^label: expected one of E, I, got 'PV'",
    ),
    "labels of another length": (
        lambda: cell_types.separated(systems.ring().sample(jr.key(0), 9), ["E"] * 8, systems.grid(3)),
        "^labels: expected one for each of 9 neurons, got shape .8,.",
    ),
    "unknown silenced": (
        lambda: cell_types.separated(
            systems.ring().sample(jr.key(0), 9), ["E"] * 9, systems.grid(3), silenced=["I"]
        ),
        "^silenced: expected types among E, got 'I'",
    ),
    "unknown among labels": (
        lambda: cell_types.labelled(["E", "X"], 2, ["E", "I"]),
        "^labels: expected only E, I, got 'X' of neuron 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_it_comes_back_from_a_file(apart, tmp_path):
    lr.save(tmp_path / "types", apart)
    back = lr.load(tmp_path / "types")
    assert back.labels == ("E", "I")
    np.testing.assert_array_equal(back.drift(STATES), apart.drift(STATES))
