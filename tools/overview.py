"""Draw book/_static/overview.png, the picture that opens the README: trajectories, weights, a new network.

Beside it, overview-narrow.png has the same panels in two rows, for telephones.
"""

import io
from pathlib import Path

import jax.random as jr
import matplotlib.pyplot as plt
from PIL import Image

import lrcore as lr
from lrcore import pictures

lr.plots.use_style()
truth = lr.systems.quadstable()
network = truth.sample(jr.key(0), 1000)
latents = lr.systems.trajectories(network)
steps = lr.steps(latents, alpha=lr.systems.ALPHA)
found = lr.Connector.fit(steps, network.embedding, key=jr.key(1))
drawn = found.sample(jr.key(2), 1000)

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.2, 2.9))
lr.plots.flow_field(network, trajectories=latents[::7], ax=left, title="trajectories of a population")
for net, color, label in ((network, lr.plots.COLORS[0], "truth"), (drawn, lr.plots.COLORS[1], "inferred")):
    middle.scatter(net.m[:, 0], net.n[:, 0], s=4, lw=0, alpha=0.5, color=color, label=label)
middle.set(xlabel="$m_1$", ylabel="$n_1$", title="the connectivity that they require")
middle.legend(markerscale=3, loc="upper left")
points = lr.flowfield.fixed_points(drawn.drift, lr.systems.grid(15))
lr.plots.flow_field(drawn, fixed_points=points, ax=right, title="a new network drawn from it")


def keep(name: str) -> None:
    """A picture of few colours, which every reader of the first page loads."""
    made = io.BytesIO()
    figure.savefig(made, dpi=pictures.PIXELS)
    with Image.open(made) as picture:
        few = picture.convert("RGB").quantize(64)
        few.save(Path(__file__).parents[1] / f"book/_static/{name}.png", optimize=True)


keep("overview")
middle.set_title("the required connectivity")  # the same in fewer words
pictures.lay_narrow(figure)
keep("overview-narrow")
