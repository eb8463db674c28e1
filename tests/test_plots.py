"""Every figure draws what it says, into the axes that it is given, and leaves the data alone."""

import copy

import jax
import jax.random as jr
import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lrcore as lr
from lrcore import plots


@pytest.fixture(autouse=True)
def closed():
    with plt.style.context("default"):
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def network():
    return lr.systems.quadstable().sample(jr.key(0), 60)


@pytest.fixture(scope="module")
def latents(network):
    return np.asarray(lr.systems.trajectories(network, points=3, steps=8))


POINTS = lr.flowfield.FixedPoints(
    np.array([[0.0, 0.0], [1.0, 1.0]], np.float32),
    np.array([[1, 1], [-1, -1]], complex),
    np.array([False, True]),
)


@pytest.mark.parametrize("inputs", [True, False])
def test_the_loop_has_all_its_words_inside(inputs):
    ax = plots.loop(inputs=inputs)
    ax.figure.canvas.draw()
    words = " ".join(text.get_text() for text in ax.texts)
    for part in ("$z$", "m_i", "n_i", r"\phi(", "latent state", "$N$ neurons"):
        assert part in words
    assert ("b_i" in words and "d_i" in words) == inputs
    page = ax.figure.bbox
    for text in ax.texts:
        box = text.get_window_extent()
        assert page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1), text


def test_flow_field(network, latents):
    before = copy.deepcopy((latents, POINTS, jax.tree.map(np.asarray, network)))
    _, (ax, _) = plots.panels(2)
    drawn = plots.flow_field(
        network, extent=2.0, trajectories=latents, fixed_points=POINTS, ax=ax, title="a", points=9
    )
    assert drawn is ax and ax.get_title() == "a"
    assert ax.get_xlim() == (-2, 2) and ax.get_ylim() == (-2, 2)
    assert len(ax.lines) == 9 + 1 + 2  # trajectories, their starts, points of either kind
    stable, unstable = ax.lines[-2:]
    np.testing.assert_array_equal(stable.get_xydata(), [[1, 1]])
    np.testing.assert_array_equal(unstable.get_xydata(), [[0, 0]])
    assert unstable.get_markerfacecolor() == "none" != stable.get_markerfacecolor()
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves((latents, POINTS, network)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_flow_field_of_a_function_an_input_and_a_window():
    asked = []

    def drift(z, u):
        asked.append((np.asarray(z), u))
        return 0 * z

    ax = plots.flow_field(drift, extent=(-1.0, 2.0, 0.0, 4.0), u=np.array([0.5]), points=7)
    assert isinstance(ax, Axes) and ax.get_xlim() == (-1, 2) and ax.get_ylim() == (0, 4)
    ((z, u),) = asked
    np.testing.assert_array_equal(z.min(axis=0), [-1, 0])
    np.testing.assert_array_equal(z.max(axis=0), [2, 4])
    assert len(z) == 49 and u.tolist() == [0.5]


@pytest.mark.parametrize("what", ["mixture", "Connector", "network"])
def test_flow_field_of_whatever_has_a_drift(what, quadstable_fit, network, monkeypatch):
    """A distribution is drawn by its mean field: the velocity is -z + F."""
    given = {"mixture": lr.systems.quadstable(), "Connector": quadstable_fit[2], "network": network}[what]
    drawn = []
    monkeypatch.setattr(Axes, "streamplot", lambda self, *args, **_: drawn.append(args))
    plots.flow_field(given, points=5)
    x, y, *velocity = drawn[0]
    z = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    np.testing.assert_allclose(np.stack(velocity, axis=-1).reshape(-1, 2), given.drift(z) - z, atol=1e-5)


def test_flow_field_passes_over_padding(network, latents):
    padded = latents.copy()
    padded[0, 4:] = np.nan
    assert isinstance(plots.flow_field(network, trajectories=padded, points=5), Axes)


def test_flow_field_of_another_rank_is_refused():
    with pytest.raises(ValueError, match="^drift: expected a rank of 2.*got 3"):
        plots.flow_field(lr.LowRankNetwork(np.eye(3), np.eye(3)))
    flat = lr.GaussianMixture([1.0], np.zeros((1, 2)), np.eye(2)[None])
    with pytest.raises(ValueError, match="^drift: expected a rank of 2.*got 1"):
        plots.flow_field(flat)


def test_connectivity(network):
    other = lr.systems.ring().sample(jr.key(1), 40)
    figure = plots.connectivity({"truth": network, "found": other}, neurons=30, limit=(3, 5))
    assert isinstance(figure, Figure) and len(figure.axes) == 9
    axes = np.array(figure.axes).reshape(3, 3)
    for i in range(2):
        for j in range(2):
            first, second = axes[i + 1, j].collections
            expected = np.stack([network.m[:30, j], network.n[:30, i]], axis=1)
            np.testing.assert_allclose(first.get_offsets(), expected)
            assert len(second.get_offsets()) == 30
            assert axes[i + 1, j].get_xlim() == (-3, 3) and axes[i + 1, j].get_ylim() == (-5, 5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "found"]
    assert not plots.connectivity(network).legends
    with pytest.raises(
        ValueError, match=r"^networks: expected networks of the same rank, got ranks \[2, 3\]"
    ):
        plots.connectivity({"a": network, "b": lr.LowRankNetwork(np.eye(3), np.eye(3))})


def test_losses():
    curve = np.arange(40.0)
    ax = plots.losses({"a": curve, "short": np.ones(3)}, smooth=5)
    assert isinstance(ax, Axes)
    steps, values = ax.lines[0].get_xydata().T
    # The mean over the five steps that end here.
    np.testing.assert_allclose(values, steps - 3)
    assert steps[0] == 5 and steps[-1] == 40
    np.testing.assert_array_equal(curve, np.arange(40.0))
    assert plots.losses({"a": curve}, ax=ax) is ax
    with pytest.raises(ValueError, match="^smooth: expected at least 1"):
        plots.losses({"a": curve}, smooth=0)


def test_style_is_one_file_of_colours_that_the_colour_blind_tell_apart():
    plots.use_style()
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert [color.lower() for color in cycle][: len(plots.COLORS)] == [
        color.lower() for color in plots.COLORS
    ]


def contrast(one, other):
    def light(color):
        c = np.asarray(color)
        return np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    return (max(light(one), light(other)) + 0.05) / (min(light(one), light(other)) + 0.05)


# CSS's hue-rotate(180deg), after invert(1): what the pages do to a figure where their ground is dark.
HUE = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
DARK = matplotlib.colors.to_rgb("#14181e")


def test_words_in_figures_are_read_on_both_grounds():
    plots.use_style()
    figure, axes = plots.panels(3)
    assert figure.get_facecolor() == axes[0].get_facecolor() == (1, 1, 1, 1)
    names = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "legend.labelcolor")
    for color in [*plots.WORDS, *(plt.rcParams[name] for name in names)]:
        color = np.array(matplotlib.colors.to_rgb(color))
        assert contrast(color, (1, 1, 1)) >= 4.5
        assert contrast(np.clip(HUE @ (1 - color), 0, 1), DARK) >= 4.5


def test_matrix_writes_every_number():
    ax = plots.matrix([[0.0, 0.25], [1.0, 0.5]], ["a", "b"], [0, 1], label="order")
    assert [text.get_text() for text in ax.texts] == [".00", ".25", "1", ".50"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"] and ax.get_xlabel() == "order"
    with pytest.raises(ValueError, match=r"^values: expected shape \(1, 2\)"):
        plots.matrix(np.eye(2), ["a"], [0, 1])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.1, 100.0])
@pytest.mark.parametrize("white", [False, True], ids=["measured", "white"])
@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
def test_report(rank, noise, white):
    """Any rank, and data that identify nothing."""
    rng = np.random.default_rng(0)
    e = lr.Embedding(rng.normal(size=(40, rank)))
    z = rng.normal(size=(200, rank))
    steps = lr.Steps(z, None, np.tanh(z) + 0.1 * rng.normal(size=z.shape), np.zeros(200, int), alpha=0.1)
    found = lr.identifiability.report(steps, e, noise=noise, size=1.0 if white else None)
    figure = plots.identified(found)
    titles = [ax.get_title() for ax in figure.axes if ax.axison]
    assert titles[0] == f"{found.modes} modes identified" and "coverage" in titles
    assert f"mode {found.modes + found.partly + 1}: free" in titles and ("mode 1: identified" in titles) == (
        found.modes > 0
    )


@pytest.fixture(scope="module")
def recording(clicks_session):
    return clicks_session(0, 30, 6).recording


def test_report_of_a_recording_draws_what_it_found():
    rng = np.random.default_rng(0)
    rates = np.broadcast_to(0.01 * rng.uniform(5, 20, 9), (80, 60, 9)).copy()
    rates[50:, :, 4] = 0
    rates[7] *= 4
    counts = rng.poisson(rates)
    counts[:, :, 8] = counts[:, :, 2]
    found = lr.Recording(spikes=counts, choices=np.arange(80) // 3 % 2).report()
    before = copy.deepcopy(found)
    figure = plots.recording(found)
    rate, levels, lengths, activity = figure.axes[:4]
    drawn = np.sort(np.concatenate([line.get_ydata() for line in rate.lines]))
    np.testing.assert_allclose(drawn, np.sort(found.rates))
    np.testing.assert_allclose(rate.lines[1].get_ydata(), found.rates[~found.kept])
    shown = levels.collections[0].get_array()
    assert shown.shape == (9, 60) and (shown[4, 45:] == 0).all() and abs(shown[[0, 1]].mean() - 1) < 0.05
    assert sum(patch.get_height() for patch in lengths.patches) == 80
    assert activity.lines[1].get_xdata().tolist() == [7.5]
    assert [len(line.get_xdata()) for line in activity.lines[2:4]] == [41, 39]
    assert [text.get_text() for text in activity.texts] == ["choice 0", "choice 1"]
    assert levels.lines[0].get_xdata() == [50, 50] and activity.get_xlabel() == "trial"
    assert jax.tree.all(jax.tree.map(np.array_equal, before, found))


def test_report_of_rates_is_drawn_in_standard_deviations():
    rates = 1e5 + 300 * np.random.default_rng(0).normal(size=(30, 40, 5))
    figure = plots.recording(lr.Recording(rates=rates))
    shown = figure.axes[1].collections[0].get_array()
    assert abs(shown.mean() - 1) < 1e-6 and 0.4 < shown.std() < 0.6
    assert not figure.axes[3].texts and figure.axes[0].get_ylabel() == "mean signal"


def test_raster_has_every_spike_and_every_click(recording):
    ax = plots.raster(recording, 4, order=[5, 4, 3, 2, 1, 0])
    drawn = [line.get_positions() for line in ax.collections]
    counts = recording.spikes[4]
    assert [len(times) for times in drawn[:6]] == list(counts.sum(axis=0)[::-1])
    for times, count in zip(drawn[:6], counts.T[::-1], strict=True):
        np.testing.assert_array_equal(
            np.floor(np.sort(times) / 0.01 + 1e-6), np.repeat(np.arange(100), count)
        )
    assert [len(times) for times in drawn[6:]] == list(recording.inputs[4].sum(axis=0))
    with pytest.raises(ValueError, match="^recording: expected spikes"):
        plots.raster(lr.Recording(rates=np.random.default_rng(0).normal(size=(3, 4, 2))), 0)


def test_psychometric_points_and_intervals():
    evidence, choices = np.repeat([-1.0, 0.0, 2.0], 10), np.repeat([0, 1, 0, 1], [10, 5, 5, 10])
    ax = plots.psychometric(evidence, choices)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[-1, 0], [0, 0.5], [2, 1]])
    low, high = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()]).T
    # Wilson's interval for 0 of 10, 5 of 10 and 10 of 10.
    np.testing.assert_allclose(low, [0, 0.2366, 0.7225], atol=2e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=2e-4)
    many = np.random.default_rng(0).normal(size=300)
    ax = plots.psychometric(many, (many > 0).astype(int), bins=6)
    assert len(ax.lines[0].get_xdata()) == 6 and ax.lines[0].get_ydata()[[0, -1]].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"^choices: expected 0 or 1 for each of 3 trials, got shape \(3,\)"):
        plots.psychometric([0, 1, 2], [0, 1, 2])


def test_psth_draws_what_the_recording_says(recording):
    right = recording.choices == 1
    ax = plots.psth(recording, 2, {"right": right, "left": ~right}, sigma=0.03)
    mean, error = recording.psth(right, sigma=0.03)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), mean[:, 2], rtol=1e-5)
    assert [line.get_label() for line in ax.lines] == ["right", "left"] and len(ax.collections) == 2
    assert np.isnan(mean[-1]).all() == ((recording.lengths[right] == 100).sum() < 5)


def test_scores_are_dots_and_their_mean():
    ax = plots.scores({"one": [0.1], "two": [0.2, 0.4]})
    np.testing.assert_allclose(ax.lines[2].get_xydata(), [[0, 1], [0.3, 1]])
    np.testing.assert_allclose(ax.lines[3].get_xydata(), [[0.2, 1], [0.4, 1]])
    assert [x.get_text() for x in ax.get_yticklabels()] == ["one", "two"] and ax.yaxis_inverted()
