"""What the studies of the rat sessions share: settings, the network of a fit, its fixed points, its axes."""

import jax.numpy as jnp
import numpy as np

import lrcore as lr

# The ridge is the largest of 0.01, 0.1, 0.3 and 1 that costs hardly any prediction from clicks; see
# README.md.
OPTIONS = {"nuisance": 2, "lag": 4, "ridge": 0.1, "progress": False}
# How far the drift of a coarse law may be from that of the recorded neurons, relative to it.
COARSE = 0.2


def network_of(fit, key):
    """The maximum-entropy solution for the drift, in the model's coordinates; it knows the steps it was
    fitted to.
    """
    return lr.maxent.fit(fit.steps(key), fit.embedding())


def coarse_ridge(solved, error=COARSE):
    """The largest ridge whose drift differs from that of a solution by at most `error`, relative to it."""
    z, u = visited(solved.steps)
    drift = np.asarray(solved.network().drift(z, u))
    for ridge in 10.0 ** np.arange(1, -12, -0.25):
        one = lr.maxent.fit(solved.steps, solved.embedding, activation=solved.activation, ridge=ridge)
        if np.linalg.norm(np.asarray(one.network().drift(z, u)) - drift) <= error * np.linalg.norm(drift):
            return float(ridge)
    raise ValueError(f"error: expected one that a ridge above 1e-12 reaches, got {error:g}")


def visited(steps):
    """States and inputs along the first draw of each trial, (state, rank) and (state, input)."""
    z, u = steps.z[: steps.measured], steps.u[: steps.measured]
    return jnp.asarray(z, jnp.float32), jnp.asarray(u, jnp.float32)


def fixed(drift, z):
    """Fixed points without input where the recording went."""
    starts = z[:: max(1, len(z) // 81)]
    return lr.flowfield.fixed_points(drift, starts, visited=z[::5])


def listed(points):
    return [[*map(float, p.round(3)), bool(s)] for p, s in zip(points.points, points.stable, strict=True)]


def choice_axes(fit):
    """Rotation (rank, rank) that puts the difference between the choices at the end of a trial on the first
    axis.
    """
    z, recording = np.asarray(fit.latents.z), fit.recording
    ends = z[np.arange(len(z)), recording.lengths - 1]
    first = ends[recording.choices == 1].mean(axis=0) - ends[recording.choices == 0].mean(axis=0)
    first /= np.linalg.norm(first)
    return np.array([first, [-first[1], first[0]]])
