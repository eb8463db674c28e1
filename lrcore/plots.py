"""Every figure of the book. Functions draw into given axes, or make their own, and return them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Arc, Rectangle

from . import checks, pictures
from .checks import ArrayLike
from .distributions import ConnectivityDistribution
from .flowfield import FixedPoints
from .identifiability import Report
from .network import LowRankNetwork
from .recording import Recording
from .recording import Report as RecordingReport
from .systems import EXTENT

STYLE = Path(__file__).with_name("lrcore.mplstyle")
COLORS = ("#2F86C6", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#808080")
# The same for words, which need more contrast: 4.5 to 1, on white and, inverted as pages do, on their dark.
WORDS = ("#2B7AB4", "#C05500", "#008561", "#A16084", "#9A6B00", "#747474")


def use_style() -> None:
    """The book's style for all figures that follow: dark grey on white, with two pixels for one of the
    screen. On the book's own pages (`LRCORE_PAGES`, which `make book` sets) they also come in a form for
    telephones.

    >>> use_style()
    """
    plt.style.use(STYLE)
    pictures.register(bool(os.environ.get("LRCORE_PAGES")))


def panels(n: int, *, width: float = 2.5, height: float = 2.6, **options) -> tuple:
    """A row of `n` axes, each `width` by `height` inches: (figure, list of axes).

    >>> figure, axes = panels(2)
    >>> len(axes)
    2
    """
    figure, axes = plt.subplots(1, n, figsize=(width * n, height), squeeze=False, **options)
    return figure, list(axes[0])


def loop(*, inputs: bool = True):
    r"""A low-rank network as a drawing: neurons read the latent state, fire, and write to it.

    - `inputs`: with input and bias, and with what moves the state: the leak and the drift.

    **Returns** the axes.

    >>> ax = loop(inputs=False)
    """
    _, (ax,) = panels(1, width=3.7, height=2.5 if inputs else 1.95)
    grey, ink = plt.rcParams["axes.edgecolor"], plt.rcParams["text.color"]
    ax.set(xlim=(0, 10.4), ylim=(-0.2, 6.7 if inputs else 5.0), aspect="equal")
    ax.axis("off")

    def arrow(start, end, color, bend=0.0, lw=2.0):
        style = {"arrowstyle": "-|>", "mutation_scale": 7 * lw, "shrinkA": 0, "shrinkB": 0, "lw": lw}
        ax.annotate(
            "", end, start, arrowprops=style | {"color": color, "connectionstyle": f"arc3,rad={bend}"}
        )

    def label(x, y, text, color=ink, size=13):
        ax.text(x, y, text, color=color, fontsize=size, ha="center", va="center")

    ax.add_patch(Rectangle((0.1, 1), 3, 3, fill=False, ec=grey))  # the plane of the latent state
    ax.plot([0.1, 3.1], [2.5, 2.5], color=grey, lw=0.6)
    ax.plot([1.6, 1.6], [1, 4], color=grey, lw=0.6)
    ax.plot(2.4, 3.1, "o", color=ink, ms=7)
    label(2.8, 3.1, "$z$")
    label(1.6, 0.5, "latent state", size=11)
    radius, behind = 1.1, 0.3
    for k in range(3):  # a neuron, and what shows of others behind it
        half = 180 - np.degrees(np.arccos(behind / np.sqrt(2) / radius)) if k else 180
        circle = {"theta1": 45 - half, "theta2": 45 + half, "ec": grey, "lw": 1.6 - 0.4 * k}
        ax.add_patch(Arc((8.3 + k * behind, 2.5 + k * behind), 2 * radius, 2 * radius, **circle))
    x = np.linspace(-0.65, 0.65, 50)
    ax.plot(8.3 + x, 2.25 + 0.45 * np.tanh(4 * x), color=ink)
    label(8.3, 3.15, r"$\phi$")
    label(8.9, 0.95, "$N$ neurons", size=11)
    arrow((3.2, 3.1), (7.2, 2.95), COLORS[0], -0.35)
    arrow((7.2, 2.05), (3.2, 1.9), COLORS[1], -0.35)
    label(5.2, 4.4, r"reads $m_i\cdot z$", WORDS[0])
    rate = r"\phi(h_i)" if inputs else r"\phi(m_i\cdot z)"
    label(5.5 if inputs else 5.7, 0.3, rf"writes $\frac{{1}}{{N}}\,n_i\,{rate}$", WORDS[1])
    if inputs:
        arrow((2.25, 2.99), (1.68, 2.56), grey, lw=1.3)
        arrow((2.35, 3.25), (1.85, 3.8), COLORS[1], lw=1.3)
        arrow((8.3, 5.7), (8.3, 3.65), COLORS[2])
        label(7.6, 6.25, r"input $b_i\cdot u$, bias $d_i$", WORDS[2])
    return ax


def flow_field(
    drift: LowRankNetwork | ConnectivityDistribution | Callable,
    *,
    extent: float | Sequence[float] = EXTENT,
    u: ArrayLike | None = None,
    trajectories=None,
    fixed_points: FixedPoints | None = None,
    color: str = COLORS[0],
    points: int = 25,
    ax: Axes | None = None,
    title: str = "",
):
    r"""Streamlines of $-z+F(z,u)$ in a plane, thicker where the flow is faster.

    **Arguments**

    - `drift`: a network, a distribution such as a `Connector`, or a function $F(z,u)$, of rank 2.
    - `extent`: half the side of the square around 0, or (left, right, bottom, top).
    - `u`: one constant input (input,), or None.
    - `trajectories`: (trial, time, 2), drawn on top, each with a dot where it starts; NaN are not drawn.
    - `fixed_points`: filled where stable, open where not.

    **Returns** the axes. **Raises** `ValueError` for a rank other than 2.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> ax = flow_field(systems.ring().sample(jr.key(0), 50))
    """
    if isinstance(drift, LowRankNetwork | ConnectivityDistribution):
        if drift.rank != 2:
            raise ValueError(
                f"drift: expected a rank of 2 for a flow field in a plane, got {drift.rank}: fix the others "
                "in a function"
            )
        drift = drift.drift
    left, right, bottom, top = np.ravel(extent) if np.ndim(extent) else np.array([-1, 1, -1, 1]) * extent
    x, y = np.linspace(left, right, points), np.linspace(bottom, top, points)
    z = jnp.asarray(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2), jnp.float32)
    velocity = np.asarray(drift(z, u) - z).reshape(points, points, 2)
    speed = np.linalg.norm(velocity, axis=-1)
    ax = ax or panels(1, width=3.4, height=3.4)[1][0]
    ax.streamplot(
        x,
        y,
        velocity[..., 0],
        velocity[..., 1],
        density=0.9,
        color="#80808099",
        linewidth=0.4 + 1.6 * np.sqrt(speed / max(speed.max(), 1e-12)),
        arrowsize=0.7,
    )
    if trajectories is not None:
        trajectories = np.asarray(trajectories)
        ax.plot(*trajectories.transpose(2, 1, 0), color=color, lw=1, alpha=0.8)
        ax.plot(*trajectories[:, 0].T, ".", color=color, ms=4)
    if fixed_points is not None:
        for stable, face in ((True, COLORS[1]), (False, "none")):
            at = fixed_points.points[fixed_points.stable == stable]
            ax.plot(*at.T, "o", mfc=face, mec=COLORS[1], mew=1.5, ms=7, zorder=5)
    ax.set(
        xlim=(left, right), ylim=(bottom, top), xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal"
    )
    return ax


def connectivity(networks: LowRankNetwork | dict[str, LowRankNetwork], *, neurons: int = 1000, limit=None):
    r"""Pair plot of the weights: every $m$ against every $n$, with the marginals of both at the edges.

    **Arguments**

    - `networks`: one network, or several by name, drawn over one another, the smallest on top; of one rank.
    - `neurons`: at most this many of each are drawn.
    - `limit`: (of m, of n), half the ranges of the axes; by default from the data.

    **Returns** the figure.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> figure = connectivity({"truth": systems.quadstable().sample(jr.key(0), 200)})
    """
    networks = networks if isinstance(networks, dict) else {"": networks}
    ranks = {network.rank for network in networks.values()}
    if len(ranks) != 1:
        raise ValueError(f"networks: expected networks of the same rank, got ranks {sorted(ranks)}")
    rank = ranks.pop()
    weights = {
        name: (np.asarray(net.m)[:neurons], np.asarray(net.n)[:neurons]) for name, net in networks.items()
    }
    if limit is None:
        limit = [max(np.quantile(np.abs(pair[i]), 0.998) for pair in weights.values()) * 1.15 for i in (0, 1)]
    figure, axes = plt.subplots(
        rank + 1,
        rank + 1,
        figsize=(1.5 * rank + 1.4, 1.5 * rank + 1.2),
        gridspec_kw={"width_ratios": [1] * rank + [0.45], "height_ratios": [0.45] + [1] * rank},
    )
    for k, (name, (m, n)) in enumerate(weights.items()):
        color = COLORS[k % len(COLORS)]
        # A small sample lies on top of a large one, and in larger dots.
        dots = {"s": 3, "alpha": 0.35} if len(m) > 300 else {"s": 12, "alpha": 0.7}
        dots["zorder"] = 2 + 1 / len(m)
        for i in range(rank):
            for j in range(rank):
                axes[i + 1, j].scatter(m[:, j], n[:, i], color=color, lw=0, **dots)
            bins = [np.linspace(-edge, edge, 41) for edge in limit]
            style = {"density": True, "histtype": "step", "color": color, "lw": 1.3}
            axes[0, i].hist(m[:, i], bins[0], label=name, **style)
            axes[i + 1, rank].hist(n[:, i], bins[1], orientation="horizontal", **style)
    for i in range(rank):
        for j in range(rank):
            axes[i + 1, j].set(xlim=(-limit[0], limit[0]), ylim=(-limit[1], limit[1]))
            axes[i + 1, j].tick_params(labelbottom=i == rank - 1, labelleft=j == 0)
        axes[0, i].set(xlim=(-limit[0], limit[0]), xticklabels=[], yticks=[])
        axes[i + 1, rank].set(ylim=(-limit[1], limit[1]), yticklabels=[], xticks=[])
        axes[i + 1, 0].set_ylabel(f"$n_{{{i + 1}}}$")
        axes[rank, i].set_xlabel(f"$m_{{{i + 1}}}$")
    axes[0, rank].axis("off")
    if any(networks):
        handles = [plt.Line2D([], [], marker="o", ls="", ms=4, color=COLORS[k]) for k in range(len(networks))]
        figure.legend(handles, list(networks), loc="outside upper center", ncols=3)
    return figure


def recording(found: Recording | RecordingReport):
    """The report of a recording as a picture: what came in, and how it changes over the trials.

    Left: the rate of each neuron, in order, open where a copy of another, silent or constant; and the
    lengths of the trials. Right: the level of each neuron over the trials, in up to 60 blocks of them,
    relative to its mean; and the activity of all, crosses where unusual or repeated, with the choices above,
    a row of ticks each. A line where neurons jump.

    - `found`: a recording, or its report.

    **Returns** the figure.

    >>> from lrcore.recording import clicks_session
    >>> import jax.random as jr
    >>> figure = recording(clicks_session(jr.key(0), n_trials=40).recording)
    """
    found = found.report() if isinstance(found, Recording) else found
    unit = "rate (Hz)" if found.spikes else "mean signal"
    figure, axes = plt.subplots(2, 2, figsize=(7.6, 4.8), width_ratios=(1, 2.1), height_ratios=(1.35, 1))
    order = np.argsort(found.rates)
    rank = 1 + np.arange(len(order))
    for kept, face in ((True, COLORS[0]), (False, "none")):
        at = found.kept[order] == kept
        style = {"mfc": face, "mec": COLORS[0] if kept else COLORS[1], "ms": 4 if kept else 6, "mew": 1.2}
        axes[0, 0].plot(rank[at], found.rates[order][at], "o", label="" if kept else "to leave out", **style)
    if not found.kept.all():
        axes[0, 0].legend(loc="upper left", handletextpad=0.1)
    axes[0, 0].set(xlabel="neurons in order", ylabel=unit, ylim=(0, None) if found.spikes else None)
    axes[1, 0].hist(found.lengths, np.linspace(0, found.lengths.max(), 16), color=COLORS[0])
    axes[1, 0].set(xlabel="length (s)", ylabel="trials", xlim=(0, 1.05 * found.lengths.max()))
    trials, neurons = found.levels.shape
    edges = np.linspace(0, trials, min(60, trials) + 1).astype(int)
    blocks = np.add.reduceat(found.levels, edges[:-1], axis=0) / np.diff(edges)[:, None]
    if not found.spikes:
        blocks = 1 + 0.5 * blocks / np.maximum(found.levels.std(axis=0), 1e-300)
    options = {"cmap": "PuOr", "vmin": 0, "vmax": 2, "rasterized": True}
    image = axes[0, 1].pcolormesh(edges, np.arange(neurons + 1), blocks.T, **options)
    bar = figure.colorbar(image, ax=axes[0, 1], pad=0.015, ticks=[0, 1, 2])
    bar.ax.set_yticklabels(["0", "1", "2"] if found.spikes else ["-2 sd", "0", "2 sd"])
    bar.set_label("spikes / usual" if found.spikes else "from the mean")
    bar.outline.set_visible(False)
    axes[0, 1].set(ylabel="neuron", xlim=(0, trials), ylim=(0, neurons))
    at, good = np.arange(trials) + 0.5, found.kept_trials
    axes[1, 1].plot(at[good], found.activity[good], ".", ms=3, color=COLORS[5])
    axes[1, 1].plot(at[~good], found.activity[~good], "x", ms=6, mew=1.5, color=COLORS[1])
    top = 1.1 * found.activity.max()
    if found.choices is not None:
        kinds = np.unique(found.choices)[:6]
        for k, kind in enumerate(kinds):
            ticks = at[found.choices == kind]
            height = top * (1.06 + 0.13 * k)
            axes[1, 1].plot(ticks, np.full(len(ticks), height), "|", ms=5, mew=0.8, color=COLORS[k % 5])
            where = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9}
            axes[1, 1].annotate(f"choice {kind}", (1.01, height), color=WORDS[k % 5], **where)
        top *= 1.06 + 0.13 * len(kinds)
    axes[1, 1].set(xlabel="trial", ylabel="activity of all", xlim=(0, trials), ylim=(0, top))
    for ax in axes[:, 1]:
        ax.locator_params(axis="x", integer=True)
        if found.jump is not None:
            ax.axvline(found.jump, color=COLORS[1], lw=1.2)
    return figure


def raster(
    recording: Recording,
    trial: int,
    *,
    order=None,
    colors=COLORS[5],
    labels: Sequence[str] = ("left", "right"),
    ax: Axes | None = None,
):
    """One trial: a row of ticks for the spikes of each neuron, and above them the inputs that are counts.

    **Arguments**

    - `trial`: its index.
    - `order`: neurons from the lowest row up; by default as they are.
    - `colors`: of the rows, one for all or one each from the lowest up.
    - `labels`: of the inputs, the first one lowest.

    >>> from lrcore.recording import clicks_session
    >>> import jax.random as jr
    >>> ax = raster(clicks_session(jr.key(0), n_trials=10).recording, 3)
    """
    ax = ax or panels(1, width=6.4, height=4.6)[1][0]
    length = recording.lengths[trial]
    spikes = recording.counts[trial, :length]
    rows = np.arange(recording.n_neurons) if order is None else np.asarray(order)
    width = recording.bin_width
    times = [_within(spikes[:, i], width) for i in rows]
    ax.eventplot(times, linelengths=0.9, linewidths=1.1, colors=colors)
    top = len(rows)
    if recording.inputs is not None:
        for k, label in enumerate(labels):
            at = top * (1.06 + 0.07 * k)
            times = _within(recording.inputs[trial, :length, k].astype(int), width)
            ax.eventplot([times], lineoffsets=at, linelengths=0.06 * top, linewidths=1.2, colors=COLORS[k])
            ax.annotate(label, (1.01, at), xycoords=("axes fraction", "data"), va="center")
    ax.axvline(length * width, color=COLORS[5], lw=0.8, ls=":")
    ax.set(xlim=(-0.01, length * width + 0.01), xlabel="time from the trial's start (s)", ylabel="neuron")
    ax.set_yticks([0, len(rows) - 1], ["1", str(len(rows))])
    return ax


def _within(counts, width) -> np.ndarray:
    """A time for each count, evenly spread within its bin."""
    bins = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(bins)) - np.repeat(np.cumsum(counts) - counts, counts)
    return width * (bins + (rank + 0.5) / counts[bins])


def psychometric(
    evidence: ArrayLike,
    choices: ArrayLike,
    *,
    bins: int = 9,
    label: str = "",
    color: str = COLORS[0],
    ax: Axes | None = None,
):
    """How often the choice is 1, by evidence, with 95 % intervals (Wilson's).

    **Arguments**

    - `evidence`: (trial,), such as `recording.info["gamma"]`; a point for each value, or, where there are
      more than twice `bins` values, for each of `bins` groups of as many trials.
    - `choices`: (trial,), 0 or 1.

    >>> ax = psychometric([-1, -1, 1, 1], [0, 1, 1, 1])
    """
    evidence, choices = np.asarray(evidence, float), np.asarray(choices)
    if evidence.shape != choices.shape or not np.isin(choices, (0, 1)).all():
        raise ValueError(
            f"choices: expected 0 or 1 for each of {len(evidence)} trials, got shape {choices.shape} with "
            f"{np.unique(choices)[:5]}"
        )
    ax = ax or panels(1, width=3.6, height=3.0)[1][0]
    values = np.unique(evidence)
    if len(values) > 2 * bins:
        edges = np.unique(np.quantile(evidence, np.linspace(0, 1, bins + 1)[1:-1]))
        groups = [np.searchsorted(edges, evidence, side="right") == k for k in range(len(edges) + 1)]
    else:
        groups = [evidence == value for value in values]
    groups = [group for group in groups if group.any()]
    n = np.array([group.sum() for group in groups])
    share = np.array([choices[group].mean() for group in groups])
    at = [evidence[group].mean() for group in groups]
    z = 1.96
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    ax.vlines(at, centre - half, centre + half, color=color, lw=1.2)
    ax.plot(at, share, "o", ms=5, color=color, label=label)
    ax.set(ylim=(-0.03, 1.03), ylabel="share of choices to the right")
    return ax


def psth(
    recording: Recording, neuron: int, groups: dict, *, sigma=0.05, colors=COLORS, ax: Axes | None = None
):
    """A neuron's rate over time in groups of trials, with bands of one standard error; see `Recording.psth`.

    **Arguments**

    - `groups`: trials by name, indices or masks (trial,), a colour each from `colors`.
    - `sigma`: of the smoothing, in seconds.

    >>> counts = np.random.default_rng(0).poisson(0.1, (40, 50, 3))
    >>> ax = psth(Recording(spikes=counts), 2, {"first": slice(20), "last": slice(20, 40)})
    """
    ax = ax or panels(1, width=3.2)[1][0]
    one = recording.select_neurons([neuron])
    for (name, chosen), color in zip(groups.items(), colors, strict=False):
        mean, error = (x[:, 0] for x in one.psth(chosen, sigma=sigma))
        ax.plot(recording.times, mean, color=color, label=name)
        ax.fill_between(recording.times, mean - error, mean + error, color=color, alpha=0.25, lw=0)
    ax.set(xlabel="time (s)", ylabel="rate (Hz)", ylim=(0, None))
    return ax


def scores(values: dict, *, label: str = "bits per spike", ax: Axes | None = None):
    """A row of dots for each name, one a fold, and their mean as a line; the first name above.

    - `values`: (fold,) by name.

    >>> ax = scores({"baseline": [0.04], "model": [0.12, 0.13]})
    """
    ax = ax or panels(1, width=4.0, height=0.3 * len(values) + 0.8)[1][0]
    for row, folds in enumerate(values.values()):
        color = COLORS[row % len(COLORS)]
        ax.plot([0, np.mean(folds)], [row, row], color=color, lw=1.5)
        ax.plot(folds, np.full(len(folds), row), "o", ms=5, color=color, alpha=0.8)
    ax.set_yticks(range(len(values)), list(values))
    ax.axvline(0, color=COLORS[5], lw=0.8)
    ax.set(ylim=(len(values) - 0.5, -0.5), xlabel=label)
    return ax


def losses(curves: dict[str, np.ndarray], *, smooth: int = 25, ax: Axes | None = None):
    """Training losses by name, each as a running mean over `smooth` steps.

    >>> ax = losses({"flow of e": np.exp(-np.arange(100) / 20)})
    """
    smooth = checks.count("smooth", smooth)
    ax = ax or panels(1, width=4.5, height=2.8)[1][0]
    for name, values in curves.items():
        width = min(smooth, len(values))
        mean = np.convolve(values, np.ones(width) / width, "valid")
        ax.plot(np.arange(len(mean)) + width, mean, label=name)
    ax.set(xlabel="update", ylabel="flow-matching loss")
    ax.legend()
    return ax


def matrix(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence,
    *,
    label: str = "",
    size: float = 0.5,
    ax: Axes | None = None,
):
    """A table of numbers between 0 and 1 as shades, each number written in its cell.

    **Arguments**

    - `values`: (row, column); `rows`, `columns`: their names. `label`: of the columns.
    - `size`: of a cell, in inches.

    >>> ax = matrix(np.eye(2), ["tanh", "exp"], [0, 1], label="order $k$")
    """
    values = np.asarray(values)
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values: expected shape {(len(rows), len(columns))} by the names, got {values.shape}"
        )
    ax = ax or plt.subplots(figsize=(size * len(columns) + 1.6, size * len(rows) + 0.6))[1]
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        shade = "white" if value > 0.6 else "black"
        ax.text(
            j,
            i,
            f"{value:.2f}".replace("0.", ".").replace("1.00", "1"),
            color=shade,
            ha="center",
            va="center",
        )
    ax.set_xticks(range(len(columns)), [str(name) for name in columns])
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.set_xlabel(label)
    ax.grid(False)
    return ax


def identified(found: Report):
    r"""The report as a picture: spectrum, coverage, and what the data see beside what they do not.

    Above: by how much the data's precision on each mode exceeds the prior's, with the line above which a
    mode is known to a tenth of its prior, and the first two modes $\psi_j(e)$. Below: where in state space
    the data were, and the first two modes that stay free. Modes are drawn at the neurons, over $m$, or over
    $m_1$ and $m_2$.

    **Returns** the figure.

    >>> import jax.random as jr
    >>> from lrcore import identifiability, steps, systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> seen = steps(systems.trajectories(net, points=3), alpha=0.1)
    >>> figure = identified(identifiability.report(seen, net.embedding, noise=0.1))
    """
    seen, count = found.spectrum, found.modes
    figure, axes = plt.subplots(2, 3, figsize=(7.8, 4.8))
    number = 1 + np.arange(len(seen.values))
    axes[0, 0].semilogy(number, found.information, ".-", lw=0.8)
    axes[0, 0].axhline(99, color=COLORS[1], label="to a tenth")
    last = min(len(number), max(2 * (count + found.partly), 12))
    least = max(found.information[last - 1], 1e-3)
    axes[0, 0].set(xlim=(0, last), ylim=(0.3 * least, 3 * max(found.information[0], 99)))
    axes[0, 0].set(xlabel="mode $j$", ylabel="information", title=f"{count} modes identified")
    axes[0, 0].legend()
    states = seen.states
    if states.shape[1] == 1:
        axes[1, 0].hist(states[:, 0], 40, color=COLORS[0])
        axes[1, 0].set(xlabel="$z$", ylabel="steps", title="coverage")
    else:
        many = axes[1, 0].hexbin(*states[:, :2].T, gridsize=24, bins="log", mincnt=1, cmap="Blues")
        figure.colorbar(many, ax=axes[1, 0], label="steps")
        axes[1, 0].set(xlabel="$z_1$", ylabel="$z_2$", title="coverage")
    for row, first, word in ((0, 0, "identified"), (1, count + found.partly, "free")):
        for k, ax in enumerate(axes[row, 1:]):
            j = first + k
            if j >= (count if row == 0 else len(seen.values)):
                ax.axis("off")
                continue
            _mode(ax, seen.nodes[:, : states.shape[1]], seen.modes[:, j])
            ax.set_title(f"mode {j + 1}: {word}")
    return figure


def _mode(ax, m, values):
    """A function of e at the neurons, over m or over its first two coordinates."""
    if m.shape[1] == 1:
        ax.plot(m[:, 0], values, ".", ms=4)
        ax.set(xlabel="$m$", ylabel=r"$\psi$")
        return
    edge = np.quantile(np.abs(values), 0.98)
    options = {"cmap": "PuOr", "vmin": -edge, "vmax": edge, "lw": 0.2, "edgecolors": COLORS[5]}
    ax.scatter(*m[:, :2].T, c=values, s=min(9 + 2000 / len(m), 40), **options)
    ax.set(xlabel="$m_1$", ylabel="$m_2$")
