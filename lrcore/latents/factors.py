"""Latent states and embeddings from spikes or rates: a first, plain estimate."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .. import checks
from ..checks import ArrayLike, floats
from ..network import Embedding
from ..recording import Recording
from ..recording.duplicates import groups
from .latents import Latents
from .unit import moments


def smooth(recording, rank: int, *, width=None) -> Latents:
    r"""Factor analysis of smoothed, variance-stabilised counts: latents that are quick, plain, and a little
    too small.

    1. Counts of each trial are smoothed in time by a Gaussian of standard deviation `width`, normalised at
       the ends of the trial, and stabilised: $2\sqrt{y+3/8}$ (Anscombe) of the count in the window's
       effective length.
    2. Factor analysis over all valid bins; posterior means, whitened over the valid bins.
    3. Axis 1 along the difference between the two choices in the last 0.1 s, the larger label positive. The
       other axes, or all where there are not two choices, by the share of variance that they explain.
    4. Each neuron's read-out of these latents: for spikes Poisson regression,
       $y_{it}\sim\mathrm{Poisson}(\Delta t\,s_i\,\mathrm{softplus}(m_i\cdot z_t+d_i))$, by Fisher scoring;
       for rates (not stabilised) least squares, $r_{it}\approx m_i\cdot z_t+d_i$.

    Scale, m and d of a neuron trade off against each other (softplus is nearly linear, or exponential, over
    the range that a neuron uses), so a prior $d_i\sim\mathcal N(0,1)$ settles what the counts leave open;
    where they say nothing, $d_i\approx0$ and $s_i$ is the mean rate divided by $\log 2$.

    **Bias.** Posterior means shrink towards zero where spikes say little, and smoothing blurs quick changes.
    Drifts regressed on them are too small (errors in variables: on rat sessions a slope of about 0.8) and may
    have other fixed points than the truth. Use these latents to look and to start from, not to measure.

    **Arguments**

    - `recording`: a `Recording`.
    - `rank`: R, at most the number of neurons.
    - `width`: of the smoothing, in seconds; 0 for none. Default 0.05 for spikes, 0 for rates.

    **Returns** `Latents`.

    **Raises** `ValueError` for a rank beyond the number of neurons or beyond what they share, fewer valid
    bins than neurons, a width in the wrong unit, neurons that are constant within the trials; `TypeError` for
    anything but a `Recording`.

    Source: Anscombe (1948), Biometrika 35, 246; Yu et al. (2009), J. Neurophysiol. 102, 614 (two-stage
    methods).

    >>> import jax.random as jr
    >>> from lrcore.recording import clicks_session
    >>> latents = smooth(clicks_session(jr.key(0), n_trials=40).recording, 2)
    >>> latents.z.shape, latents.embedding.m.shape
    ((40, 100, 2), (80, 2))
    """
    if not isinstance(recording, Recording):
        raise TypeError(
            f"recording: expected a Recording, got {type(recording).__name__}: make one of the arrays"
        )
    rank = checks.count("rank", rank)
    n = recording.n_neurons
    if rank > n:
        raise ValueError(f"rank: expected at most the number of neurons, {n}, got {rank}")
    counted = recording.rates is None
    width = checks.positive("width", (0.05 if counted else 0.0) if width is None else width, zero=True)
    duration = recording.n_time * recording.bin_width
    if width > duration:
        raise ValueError(
            f"width: expected seconds, at most the trials' {duration:g}, got {width:g}: 50 ms is 0.05"
        )
    mask = recording.mask
    if mask.sum() <= n:
        raise ValueError(f"recording: expected more valid time bins than its {n} neurons, got {mask.sum()}")
    _varying(recording)
    warn_of_copies(recording)
    features = _smoothed(recording.signal, mask, width / recording.bin_width, counted)[mask]
    z, loadings = _factors(features, rank)
    z = z @ _rotation(z, loadings, recording)
    latents = np.zeros((*mask.shape, rank), np.float32)
    latents[mask] = z
    signal = recording.signal[mask]
    if counted:
        m, d, scale = _poisson_regression(
            jnp.asarray(z, jnp.float32), jnp.asarray(signal, jnp.float32), recording.bin_width
        )
        embedding = Embedding(m, d=d)
    else:
        design = np.column_stack([z, np.ones(len(z))])
        weights = np.linalg.lstsq(design, signal.astype(np.float64), rcond=None)[0].T.astype(np.float32)
        embedding, scale = Embedding(weights[:, :-1], d=weights[:, -1]), jnp.ones(n, jnp.float32)
    return Latents(
        z=jnp.asarray(latents),
        lengths=recording.lengths,
        embedding=embedding,
        scale=scale,
        inputs=None if recording.inputs is None else floats(recording.inputs),
        bin_width=recording.bin_width,
        activation="softplus" if counted else "linear",
    )


def white_factors(
    recording: Recording,
    rank: int,
    baseline: ArrayLike | None = None,
    *,
    decision: int = 1,
    width: float = 0.05,
) -> Float[np.ndarray, "trial time rank"]:
    """White latents (trial, time, rank) from factor analysis of what is smoothed and, for spikes, of what a
    baseline leaves.

    - `baseline`: (trial, time, neuron), expected counts a bin. `width`: of the smoothing of spikes, in
      seconds.
    - `decision`: so many axes come first in which the two choices differ over the course of a trial, if there
      are two.

    >>> from lrcore.recording import clicks_session
    >>> import jax.random as jr
    >>> white_factors(clicks_session(jr.key(0), n_trials=40).recording, 2).shape
    (40, 100, 2)
    """
    _varying(recording)
    mask, counted = recording.mask, recording.rates is None
    width = (width if counted else 0.0) / recording.bin_width
    features = _smoothed(recording.signal, mask, width, counted)[mask]
    if baseline is not None:
        features = features - _smoothed(baseline, mask, width, counted)[mask]
    found, loadings = _factors(features, rank)
    z = np.zeros((*mask.shape, rank), np.float32)
    z[mask] = found @ _rotation(found, loadings, recording, decision)
    return z


def warn_of_copies(recording: Recording) -> None:
    """Say which neurons are copies of one another: each would predict the other."""
    label = groups(recording.signal, recording.lengths)
    sets = [np.flatnonzero(label == k) for k in np.flatnonzero(np.bincount(label) > 1)]
    if sets:
        names = recording.neurons or tuple(str(i) for i in range(recording.n_neurons))
        shown = ", ".join("(" + ", ".join(names[i] for i in some) + ")" for some in sets[:5])
        n, more = len(label), np.concatenate([some[1:] for some in sets])
        warnings.warn(
            f"recording: {len(sets)} sets of neurons are duplicates, the same spikes or signal twice: {shown}"
            f"{', ...' if len(sets) > 5 else ''}: their evidence counts twice; keep one of each, "
            f"recording.select_neurons(np.delete(np.arange({n}), {more.tolist()}))",
            stacklevel=3,
        )


def _varying(recording: Recording) -> None:
    """Refuse neurons that are constant, of rates also those that nearly are."""
    if recording.rates is not None:
        moments(recording)
    elif recording.constant.any():
        raise ValueError(
            f"recording: expected neurons that vary, got {int(recording.constant.sum())} constant of "
            f"{recording.n_neurons}: use recording.drop_constant()"
        )


def _smoothed(
    signal, mask: Bool[np.ndarray, "trial time"], width: float, counted: bool
) -> Float[np.ndarray, "trial time neuron"]:
    """The signal smoothed within each trial, `width` in bins; counts stabilised to a variance of about 1."""
    from scipy.ndimage import gaussian_filter1d

    signal = signal.astype(np.float32 if counted else np.float64)
    window = 1.0
    if width:
        # Padding is 0 and the mask too, so that the quotient is the mean over the bins that exist.
        weights = gaussian_filter1d(mask.astype(np.float32), width, axis=1, mode="constant")
        signal = gaussian_filter1d(signal, width, axis=1, mode="constant")
        signal /= np.maximum(weights, 1e-6)[:, :, None]
        window = max(1.0, 2 * np.sqrt(np.pi) * width)
    return 2 * np.sqrt(np.maximum(window * signal, 0) + 0.375) if counted else signal


def _factors(
    features: Float[np.ndarray, "sample neuron"], rank: int
) -> tuple[Float[np.ndarray, "sample rank"], Float[np.ndarray, "rank neuron"]]:
    """Posterior means of factor analysis, whitened, and their loadings on the standardised features."""
    from sklearn.decomposition import FactorAnalysis
    from sklearn.exceptions import ConvergenceWarning

    n_samples, n = features.shape
    x = features - features.mean(axis=0, dtype=np.float64)
    x /= x.std(axis=0)
    # Factor analysis sees only the covariance: 2 N samples with the same one give the same answer at once.
    values, vectors = np.linalg.eigh(x.T @ x / n_samples)
    root = np.sqrt(n * np.maximum(values, 0))[:, None] * vectors.T
    analysis = FactorAnalysis(rank, svd_method="lapack", tol=1e-6, max_iter=200)
    with warnings.catch_warnings():
        # Without private noise (clean rates) it converges slowly; what it has by then will do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        analysis.fit(np.concatenate([root, -root]))
    z = analysis.transform(x)
    covariance = z.T @ z / n_samples
    shared = int((np.linalg.eigvalsh(covariance) > 1e-6).sum())
    if shared < rank:
        raise ValueError(
            f"rank: expected at most {shared}, the dimensions in which these {n} neurons share variance, got "
            f"{rank}: lower the rank or record more neurons"
        )
    mixing = np.linalg.cholesky(covariance)
    return np.linalg.solve(mixing, z.T).T, mixing.T @ analysis.components_


def _rotation(z, loadings, recording: Recording, decision: int = 1) -> Float[np.ndarray, "rank rank"]:
    """Orthonormal axes as columns: the choice direction if there is one, more of them if asked for, then by
    explained variance.
    """
    axes = np.linalg.svd(loadings, full_matrices=False)[0]
    axes = axes * np.sign((axes.T @ loadings).sum(axis=1) + 1e-12)
    labels = [] if recording.choices is None else np.unique(recording.choices)
    if len(labels) == 2:
        late = max(1, round(0.1 / recording.bin_width))
        before_end = recording.lengths[:, None] - np.arange(recording.n_time)
        at_end = (before_end <= late)[recording.mask]
        right = np.repeat(recording.choices == labels[1], recording.lengths)
        direction = z[at_end & right].mean(axis=0) - z[at_end & ~right].mean(axis=0)
        chosen = (direction / np.linalg.norm(direction))[:, None]
        if decision > 1:
            apart = _apart(z, recording, right)
            left = apart - apart @ chosen @ chosen.T
            more = np.linalg.svd(left, full_matrices=False)[2][: min(decision, z.shape[1]) - 1].T
            chosen = np.column_stack([chosen, more * np.sign((more.T @ loadings).sum(axis=1) + 1e-12)])
        # The other axes span what is left of the loadings.
        left = loadings - chosen @ (chosen.T @ loadings)
        rest = np.linalg.svd(left, full_matrices=False)[0][:, : z.shape[1] - chosen.shape[1]]
        rest = rest * np.sign((rest.T @ loadings).sum(axis=1) + 1e-12)
        axes = np.column_stack([chosen, rest])
    return axes


def _apart(z, recording: Recording, right) -> Float[np.ndarray, "time rank"]:
    """Mean of the trials that end right minus that of the others, bin by bin, by the number of trials that
    are that long.
    """
    bins = np.broadcast_to(np.arange(recording.n_time), recording.mask.shape)[recording.mask]
    sums, counts = (np.zeros((2, recording.n_time, *shape)) for shape in ((z.shape[1],), ()))
    np.add.at(sums, (right.astype(int), bins), z)
    np.add.at(counts, (right.astype(int), bins), 1)
    means = sums / np.maximum(counts, 1)[..., None]
    return (means[1] - means[0]) * np.sqrt(counts.min(axis=0))[:, None]


@eqx.filter_jit
def _poisson_regression(
    z: Float[Array, "sample rank"], y: Float[Array, "sample neuron"], bin_width: float
) -> tuple[Float[Array, "neuron rank"], Float[Array, " neuron"], Float[Array, " neuron"]]:
    """m, d and scale of every neuron at the largest posterior, by Fisher scoring with halved steps."""
    rank = z.shape[1]
    steps = jnp.array([1.0, 0.3, 0.03])
    # Weak: a standard deviation of 10 for m keeps the system solvable where a neuron has few spikes.
    prior = jnp.concatenate([jnp.full(rank, 0.01), jnp.array([1.0, 0.0])])

    def loss(parameters, y):
        potential = z @ parameters[:rank] + parameters[rank]
        log_rate = parameters[-1] + jnp.log(jax.nn.softplus(potential))
        return jnp.sum(jnp.exp(log_rate) - y * log_rate) + 0.5 * jnp.sum(prior * parameters**2)

    def step(parameters, y):
        potential = z @ parameters[:rank] + parameters[rank]
        link = jax.nn.softplus(potential)
        rate = jnp.exp(parameters[-1]) * link
        slope = jax.nn.sigmoid(potential) / link
        jacobian = jnp.concatenate(
            [slope[:, None] * z, slope[:, None], jnp.ones_like(slope)[:, None]], axis=1
        )
        gradient = (rate - y) @ jacobian + prior * parameters
        fisher = (jacobian * rate[:, None]).T @ jacobian + jnp.diag(prior)
        ahead = -jnp.linalg.solve(fisher + 1e-6 * jnp.trace(fisher) * jnp.eye(rank + 2), gradient)
        tried = parameters[None] + steps[:, None] * ahead[None]
        losses = jax.vmap(loss, in_axes=(0, None))(tried, y)
        return tried[jnp.argmin(losses)], jnp.min(losses)

    def one(y):
        start = jnp.zeros(rank + 2).at[-1].set(jnp.log(y.mean() / jnp.log(2.0)))

        def better(state):
            count, _, last, now = state
            # A gain of 0.01 nats over the whole recording is below what the counts can tell.
            return (count < 25) & (now < last - 0.01)

        def improve(state):
            count, parameters, _, now = state
            tried, after = step(parameters, y)
            return count + 1, jnp.where(after < now, tried, parameters), now, after

        state = (0, start, jnp.inf, loss(start, y))
        return jax.lax.while_loop(better, improve, state)[1]

    # One neuron after another: all at once would hold (neuron, sample, rank) several times.
    found = jax.lax.map(one, y.T)
    return found[:, :rank], found[:, rank], jnp.exp(found[:, -1]) / bin_width
