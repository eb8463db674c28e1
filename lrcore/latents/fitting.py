"""Latents with uncertainty: a state-space model fitted to a recording by variational EM, and applied to other
trials.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from tqdm import tqdm

from .. import checks
from ..activation import Activation, resolve
from ..checks import ArrayLike
from ..network import Embedding, LowRankNetwork
from ..recording import Recording
from ..steps import Steps, drift_target, steps
from . import factors
from .latents import Latents
from .learning import dynamics, input_weights, read_out, rms, whiten
from .smoother import Posterior
from .state_space import (
    Observed,
    StateSpace,
    draw_paths,
    expected_next,
    expected_rates,
    infer_step,
    input_size,
    inputs_of,
    no_sites,
    observed,
    positive_baseline,
    weighted,
)
from .unit import moments, resting, tangent, unit_of

_DAMPING = 0.7
# Paths of each trial at which the drift is fitted: eight leave less noise in it than the data do.
_PATHS = 8
# Of the drift in each iteration of the second half: a mean over the last few, which the paths' noise enters
# less (stochastic EM).
_SHARE = 0.2
# Iterations before noise and memory are fitted: EM moves them slowly, and the smooth latents it starts from
# say too little noise.
_HELD = 10


class StateSpaceFit(eqx.Module):
    """A state-space model of a recording, made by `fit`.

    - `model`: `StateSpace`; `posterior`: `Posterior` of the recording's trials; `baseline`: expected counts a
      bin (trial, time, neuron), or None for rates.
    - `change`: (iteration,), root mean square change of the posterior means.
    """

    model: StateSpace
    posterior: Posterior
    baseline: np.ndarray | None
    change: Float[np.ndarray, " iteration"]
    recording: Recording

    def __repr__(self) -> str:
        model, data = self.model, self.recording
        last = f"the last by {self.change[-1]:.2g}" if len(self.change) else "none"
        return "\n".join(
            [
                f"StateSpaceFit: rank {model.rank}, {model.m.shape[1]} dimensions of the latent state, alpha "
                f"{model.alpha:.3g}",
                f"data         {data.n_neurons:,} neurons in {data.n_trials:,} trials",
                f"iterations   {len(self.change)}, {last} (root mean square change of the means)",
            ]
        )

    @property
    def latents(self) -> Latents:
        """Posterior means of the decision as `Latents`, to look at. Regress on `.steps(key)`, not on
        these.
        """
        return self._latents(self.posterior.mean)

    def sample(self, key: PRNGKeyArray) -> Latents:
        """One posterior path of the decision in each trial, as `Latents`."""
        return self._latents(draw_paths(self.model, self.posterior, self._observed(), key, 1)[0])

    def steps(self, key: PRNGKeyArray, count: int = 4) -> Steps:
        r"""Steps along paths drawn from the posterior: a regression on them has no errors in variables.

        $z_t\sim p(z_t\mid y)$ and $Y_t=\big(\mathbb E[z_{t+1}\mid z_t,y]-(1-\alpha)z_t\big)/\alpha$, along
        `count` paths of each trial, with the inputs as the model was given them (late by its lag). Posterior
        means in place of these shrink the drift and move its fixed points.
        """
        rank, alpha = self.model.rank, self.model.alpha
        data = self._observed()
        drawn = draw_paths(self.model, self.posterior, data, key, checks.count("count", count))
        ahead = expected_next(self.model, self.posterior, data, drawn)
        y = drift_target(drawn[:, :, :-1, :rank], ahead[..., :rank], alpha)
        return steps(
            np.concatenate(drawn[..., :rank]),
            drift=np.concatenate(y),
            inputs=np.tile(data.u, (count, 1, 1)) if self.recording.n_inputs else None,
            lengths=np.tile(self.recording.lengths, count),
            alpha=alpha,
            copies=count,
        )

    def _observed(self) -> Observed:
        return observed(self.recording, self.baseline, self.model.lag)

    def embedding(self) -> Embedding:
        r"""m, b and d of every neuron: how it reads the decision, the inputs, and its bias.

        b is one Fisher step from 0 in $h=m\cdot z+b\cdot u+d$ with the latents as they are and a weak prior.
        The latents have taken up most of what inputs do, so that b is small and ill-determined; without
        inputs there is none.
        """
        m = self.model.m[:, : self.model.rank]
        b = None
        if self.recording.n_inputs:
            size = jnp.asarray(input_size(self.recording), jnp.float32)
            b = input_weights(self.model, self.posterior, self._observed(), size)
        return Embedding(m, b, self.model.d if self.model.bias else None)

    def with_network(self, network: LowRankNetwork) -> "StateSpaceFit":
        r"""The same read-out and noise with the drift of a network of `tanh` neurons, in the model's own
        coordinates.

        **Raises** `ValueError` for another activation, rank or number of inputs.
        """
        model, embedding = self.model, network.embedding
        expected = (model.rank, model.features.shape[1] - model.rank - 1)
        if network.activation != "tanh" or (network.rank, embedding.n_inputs) not in (
            expected,
            (expected[0], 0),
        ):
            raise ValueError(
                f"network: expected tanh neurons of rank {expected[0]} with {expected[1]} inputs or none, "
                f"got {network.activation}, rank {network.rank}, {embedding.n_inputs} inputs"
            )
        b = jnp.zeros((network.n_neurons, expected[1])) if embedding.b is None else embedding.b
        d = jnp.zeros(network.n_neurons) if embedding.d is None else embedding.d
        features = jnp.concatenate([embedding.m, b, d[:, None]], axis=1)
        model = eqx.tree_at(lambda s: (s.features, s.n), model, (features, network.n / network.n_neurons))
        return eqx.tree_at(lambda s: s.model, self, model)

    def rates(self, posterior: Posterior | None = None) -> Float[np.ndarray, "trial time neuron"]:
        """Expected counts a bin, or rates, under a posterior; of all neurons."""
        posterior = posterior or self.posterior
        expected = np.asarray(expected_rates(self.model, posterior))
        return expected if self.baseline is None else self.baseline * expected

    def _latents(self, z) -> Latents:
        inside = jnp.asarray(self.recording.mask)[..., None]
        model, rank = self.model, self.model.rank
        scale = jnp.ones(len(model.d))
        if self.baseline is not None:
            at_zero = float(resolve(model.activation)(jnp.zeros(())))
            scale = jnp.asarray(self.recording.mean_rates / at_zero, jnp.float32)
        return Latents(
            z=jnp.where(inside, z[..., :rank], 0.0),
            lengths=self.recording.lengths,
            embedding=Embedding(model.m[:, :rank], d=model.d if model.bias else None),
            scale=scale,
            inputs=inputs_of(self.recording, model.lag) if self.recording.n_inputs else None,
            bin_width=self.recording.bin_width,
            activation=model.activation,
        )


def fit(
    recording: Recording,
    rank: int,
    *,
    key: PRNGKeyArray,
    nuisance: int = 0,
    alpha: float | None = None,
    activation: Activation | None = None,
    bias: bool = True,
    baseline: ArrayLike | None = None,
    lag: int = 0,
    features: int = 128,
    ridge: float = 1e-2,
    q: float = 0.05,
    iterations: int = 40,
    same_start: bool = True,
    start: Latents | None = None,
    progress: bool = True,
) -> StateSpaceFit:
    r"""Posterior latents and a low-rank model of spikes or rates, by variational EM.

    One iteration: (1) every bin's observations as a Gaussian in z (expected gradient and Fisher information
    under the posterior so far, damped), the drift linearised over the posterior, a Kalman smoother; (2) paths
    drawn from it, weighted by the drift as it is (`weighted_paths`): a linearised one would wear bends off
    the drift, step by step, and with them fixed points; (3) a Fisher step for m and d; n by ridge regression
    of $(z_{t+1}-(1-\alpha)z_t)/\alpha$ on the features **along these paths**: posterior means would shrink
    the drift; covariances in closed form. The latents are kept white.

    **Arguments**

    - `recording`: spikes (Poisson) or rates (Gaussian), and its inputs, in any unit; 0 is no input.
    - `rank`: of the decision; `nuisance`: further dimensions with a linear memory and no inputs, for trial
      gain and shared noise.
    - `alpha`: $\Delta t/\tau$, at most 1; by default with $\tau$ = 0.1 s.
    - `activation`: $\phi$ of the read-out; "softplus" for spikes and "linear" for rates by default. `bias`:
      fit $d_i$.
    - `baseline`: (trial, time, neuron), expected counts a bin without z; by default each neuron's mean. See
      `lr.latents.baseline`. None for rates.
    - `lag`: bins by which inputs act late. `features`: random ones of F; `ridge`: relative to their mean
      square.
    - `q`: EM starts from Q = q I, of white latents, and stays near it. With much less it finds no attractors;
      with more, flows are smoothed and stable points drawn together (studies/README.md).
    - `same_start`: all trials begin at the same decision state, to a variance of 0.02 of that over all bins;
      False to estimate how they begin.
    - `start`: latents to start from, of rank `rank + nuisance`; by default those of factor analysis.

    **Unit of rates.** $r=\phi(m\cdot z+d)$ + noise has no gain. A linear read-out takes up any scale and,
    with `bias`, any shift of each neuron: z, F and Q stay as they are, m, d and $s_i$ are in the unit of the
    rates. "relu" takes up any scale. For other $\phi$ the rates have to be in its unit, as of "tanh" between
    -1 and 1.

    **Raises** `ValueError` for a rank that the neurons cannot carry, a baseline that is not positive or of
    another shape, constant neurons, bins longer than $\tau$, rates beyond what $\phi$ reaches.

    Source: Kalman smoothing with conjugate-computation variational inference, Khan & Lin (2017), AISTATS;
    drifts linearised as in Särkkä (2013), Bayesian Filtering and Smoothing, section 6; the ridge step is Kim
    et al. (2026), section 3.

    >>> import jax.random as jr
    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=30).recording
    >>> found = fit(data, 2, key=jr.key(1), iterations=2, progress=False)
    >>> found.posterior.mean.shape
    (30, 100, 2)
    """
    rank, nuisance = checks.count("rank", rank), checks.count("nuisance", nuisance, least=0)
    lag, features = checks.count("lag", lag, least=0), checks.count("features", features)
    # An array, so that another ridge is no other compilation.
    rho = jnp.asarray(checks.positive("ridge", ridge), jnp.float32)
    share_of_tau = _share_of_tau(recording, alpha)
    counted = recording.rates is None
    activation = activation or ("softplus" if counted else "linear")
    dim = rank + nuisance
    baseline = positive_baseline(baseline, recording) if counted else _no_baseline(baseline)
    unit = unit_of(recording, activation, bias)
    factors.warn_of_copies(recording)
    if start is None:
        z = factors.white_factors(recording, dim, baseline, decision=rank)
    else:
        z = np.asarray(start.z)
        if z.shape[2] != dim:
            raise ValueError(f"start: expected latents of rank {dim}, got {z.shape[2]}")
        z = z / z[recording.mask].std(axis=0)
    data = observed(recording, baseline, lag, unit=unit)
    m, d = _first_read_out(recording, activation, bias, z, unit.scale)
    feature_key, *keys = jr.split(key, 1 + iterations)
    # White latents, inputs of size one, and 1.
    sizes = np.concatenate([np.ones(rank), input_size(recording), np.ones(1)])
    # From a whole trial's gain to noise that is shared within a bin or two.
    memory = 1 - np.logspace(-2, np.log10(0.7), nuisance)
    model = StateSpace(
        m=jnp.asarray(m, jnp.float32),
        d=jnp.asarray(d, jnp.float32),
        variance=data.power,
        n=jnp.zeros((features, rank)),
        features=jr.normal(feature_key, (features, len(sizes))) / jnp.asarray(sizes, jnp.float32)[None],
        q=checks.positive("q", q) * jnp.eye(rank),
        a=jnp.asarray(memory, jnp.float32),
        q_nuisance=jnp.asarray(1 - memory**2, jnp.float32),
        mean0=jnp.zeros(dim),
        v0=0.02 * jnp.eye(rank),
        alpha=share_of_tau,
        lag=lag,
        activation=activation,
        counted=counted,
        bias=bias,
        same_start=same_start,
    )
    trials, time = recording.mask.shape
    posterior = Posterior(
        jnp.asarray(z, jnp.float32),
        jnp.tile(0.1 * jnp.eye(dim), (trials, time, 1, 1)),
        jnp.tile(0.9 * jnp.eye(dim), (trials, time - 1, 1, 1)),
    )
    sites = no_sites(posterior)
    for _ in range(6):
        model = read_out(model, posterior, data)
    # There are no dynamics yet that could weigh a path.
    drawn = jnp.stack([posterior.sample(one) for one in jr.split(keys[0], _PATHS)])
    drawn = drawn, jnp.full(drawn.shape[:2], 1 / _PATHS)
    model = dynamics(model, posterior, drawn, data, rho, jnp.asarray(True), jnp.asarray(1.0))
    change = []
    for k, one in enumerate(tqdm(keys, desc="state space", disable=not progress, leave=False)):
        before = posterior.mean
        posterior, sites = infer_step(model, posterior, data, sites, jnp.asarray(_DAMPING if k else 1.0))
        drawn = weighted(model, posterior, data.u, data.mask, one, _PATHS)
        model, posterior, sites, drawn = whiten(model, posterior, sites, drawn, data.mask)
        model = read_out(model, posterior, data)
        # In fewer than thirty there is no time to average.
        share = 1.0 if 2 * k < max(iterations, 30) else _SHARE
        model = dynamics(model, posterior, drawn, data, rho, jnp.asarray(k < _HELD), jnp.asarray(share))
        change.append(float(rms(posterior.mean - before, data.mask)))
    for _ in range(3):
        posterior, sites = infer_step(model, posterior, data, sites, jnp.asarray(_DAMPING))
    # Out of the unit that it was computed in, here and nowhere else.
    scale, offset = (jnp.asarray(x, jnp.float32) for x in (unit.scale, unit.offset))
    own = (model.m * scale[:, None], model.d * scale + offset, model.variance * scale**2)
    model = eqx.tree_at(lambda s: (s.m, s.d, s.variance), model, own)
    return StateSpaceFit(model, posterior, baseline, np.array(change), recording)


def infer(
    found: StateSpaceFit,
    recording: Recording,
    *,
    baseline: ArrayLike | None = None,
    neurons: ArrayLike | None = None,
    iterations: int = 8,
) -> StateSpaceFit:
    """The posterior of other trials, from all neurons, from some, or from none, by a model that stays as it
    is.

    **Arguments**

    - `recording`: of the same neurons. `baseline`: (trial, time, neuron), of these trials.
    - `neurons`: boolean mask (neuron,) of those that are observed; none of them is a prediction from the
      inputs alone.

    **Raises** `ValueError` for other neurons, other bins, or rates where the fit is of spikes.
    """
    if recording.n_neurons != len(found.model.d):
        raise ValueError(
            f"recording: expected the {len(found.model.d)} neurons of the fit, got {recording.n_neurons}"
        )
    model = found.model
    if not np.isclose(recording.bin_width, found.recording.bin_width):
        raise ValueError(
            f"recording: expected bins of {found.recording.bin_width:g} s, as those of the fit, got "
            f"{recording.bin_width:g} s"
        )
    if (recording.rates is None) != model.counted:
        wanted, got = ("spikes", "rates") if model.counted else ("rates", "spikes")
        raise ValueError(f"recording: expected {wanted}, as the fit is of {wanted}, got {got}")
    if not model.counted:
        baseline = _no_baseline(baseline)
    else:
        if baseline is None and found.baseline is not None:
            level = np.mean(found.baseline, axis=(0, 1), where=found.recording.mask[..., None])
            baseline = np.broadcast_to(level, recording.counts.shape)
        baseline = positive_baseline(baseline, recording)
    data = observed(recording, baseline, model.lag, neurons)
    trials, time = recording.mask.shape
    dim = model.m.shape[1]
    posterior = Posterior(
        jnp.tile(model.mean0, (trials, time, 1)),
        jnp.tile(0.3 * jnp.eye(dim), (trials, time, 1, 1)),
        jnp.zeros((trials, time - 1, dim, dim)),
    )
    sites = no_sites(posterior)
    for k in range(iterations):
        posterior, sites = infer_step(model, posterior, data, sites, jnp.asarray(_DAMPING if k else 1.0))
    return StateSpaceFit(model, posterior, baseline, np.zeros(0), recording)


def _share_of_tau(recording: Recording, alpha) -> float:
    """alpha, at most 1: in a bin that is longer than tau a state would go past where it is driven to."""
    share = checks.positive("alpha", recording.bin_width / 0.1 if alpha is None else alpha)
    if share > 1:
        raise ValueError(
            f"alpha: expected bin_width / tau of at most 1, got {share:g} for bins of "
            f"{recording.bin_width:g} s: make bins shorter than the time constant (0.1 s by default), or "
            "give alpha for a longer one"
        )
    return share


def _no_baseline(baseline) -> None:
    """Rates have none: their mean is d."""
    if baseline is not None:
        raise ValueError("baseline: expected None for rates, got one: subtract it from the rates")


def _first_read_out(recording: Recording, activation: Activation, bias: bool, z, scale):
    """m (neuron, dim) and d (neuron,) to start from, in units of `scale` (neuron,); for rates of any but a
    linear activation about the potentials of their means.
    """
    neurons, dim = recording.n_neurons, z.shape[2]
    if recording.rates is None or activation == "linear":
        return np.zeros((neurons, dim)), np.zeros(neurons)
    mean, spread = moments(recording)
    z = z[recording.mask]
    loadings = ((recording.rates[recording.mask] - mean) / scale).T @ (z - z.mean(axis=0)) / len(z)
    d = resting(activation, mean / scale, spread / scale) if bias else np.zeros(neurons)
    return tangent(activation, d, loadings), d
