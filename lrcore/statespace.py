"""Latents with uncertainty: a low-rank state-space model for spikes or rates, by variational EM."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from . import checks, factors, paths
from .activation import Activation, resolve
from .factors import Latents
from .network import Embedding, LowRankNetwork
from .recording import Recording
from .smoother import Posterior, cholesky, inverse, smooth

# Nodes and weights of the expectation over a normal potential, exact to order five.
_NODES = ((0.0, 2 / 3), (np.sqrt(3.0), 1 / 6), (-np.sqrt(3.0), 1 / 6))
_DAMPING = 0.7
# Paths of each trial at which the drift is fitted: eight leave less noise in it than the data do.
_PATHS = 8
# Of the drift in each iteration of the second half: a mean over the last few, which the paths' noise enters less (stochastic EM).
_SHARE = 0.2
# Iterations before noise and memory are fitted: EM moves them slowly, and the smooth latents it starts from say too little noise.
_HELD = 10


class StateSpace(eqx.Module):
    r"""Low-rank dynamics seen through spikes or rates.

    $$z_{t+1}=(1-\alpha)z_t+\alpha F(z_t,u_{t-\ell})+\varepsilon_t,\qquad x_{t+1}=a\,x_t+\eta_t,\qquad
      h_{it}=m_i\cdot(z_t,x_t)+d_i$$
    $$y_{it}\sim\mathrm{Poisson}\big(C_{it}\,\phi(h_{it})/\phi(0)\big)\quad\text{or}\quad y_{it}\sim\mathcal N\big(\phi(h_{it}),s_i^2\big)$$

    with $F(z,u)=\sum_jn_j\tanh(w_j\cdot z+v_j\cdot u+c_j)$ of fixed random w, v and c, and nuisance x that has no part in the decision.

    - `m` (neuron, dim), `d` (neuron,), `variance` (neuron,) $s_i^2$ of rates.
    - `n` (feature, rank), `features` (feature, rank + input + 1); `q` (rank, rank), covariance of $\varepsilon$.
    - `a`, `q_nuisance`: (nuisance,). `mean0`: (dim,), mean of the first state; `v0`: (rank, rank), its covariance.
    """

    m: Float[Array, "neuron dim"]
    d: Float[Array, " neuron"]
    variance: Float[Array, " neuron"]
    n: Float[Array, "feature rank"]
    features: Float[Array, "feature embedding"]
    q: Float[Array, "rank rank"]
    a: Float[Array, " nuisance"]
    q_nuisance: Float[Array, " nuisance"]
    mean0: Float[Array, " dim"]
    v0: Float[Array, "rank rank"]
    alpha: float = eqx.field(static=True)
    lag: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    counted: bool = eqx.field(static=True)
    bias: bool = eqx.field(static=True)
    same_start: bool = eqx.field(static=True)

    @property
    def rank(self) -> int:
        """R, of the decision."""
        return self.q.shape[0]

    def drift(self, z, u=None) -> Float[Array, "... rank"]:
        """F at states (..., rank) and inputs (..., input), 0 by default."""
        if u is None:
            u = jnp.zeros((*z.shape[:-1], self.features.shape[1] - self.rank - 1))
        return self._hidden(z, u) @ self.n

    def _hidden(self, z, u):
        ones = jnp.ones((*z.shape[:-1], 1))
        return jnp.tanh(jnp.concatenate([z, u, ones], axis=-1) @ self.features.T)

    def _step(self, z, u):
        return (1 - self.alpha) * z + self.alpha * self.drift(z, u)


class StateSpaceFit(eqx.Module):
    """A state-space model of a recording, made by `fit`.

    - `model`: `StateSpace`; `posterior`: `Posterior` of the recording's trials; `baseline`: expected counts a bin
      (trial, time, neuron), or None for rates.
    - `change`: (iteration,), root mean square change of the posterior means.
    """

    model: StateSpace
    posterior: Posterior
    baseline: np.ndarray | None
    change: Float[np.ndarray, " iteration"]
    recording: Recording

    @property
    def latents(self) -> Latents:
        """Posterior means of the decision as `Latents`, to look at. Regress on `sample`, not on these."""
        return self._latents(self.posterior.mean)

    def sample(self, key: PRNGKeyArray) -> Latents:
        """One posterior path of the decision in each trial, as `Latents`."""
        return self._latents(self._drawn(key, 1)[0][0])

    def draws(self, key: PRNGKeyArray, count: int = 4) -> dict:
        r"""States drawn from the posterior and the drift expected there: a regression without errors in variables.

        $z_t\sim p(z_t\mid y)$ and $Y_t=\big(\mathbb E[z_{t+1}\mid z_t,y]-(1-\alpha)z_t\big)/\alpha$, along `count` paths of each trial. Posterior
        means in place of these shrink the drift and move its fixed points.

        **Returns** arguments of `lr.maxent.fit` and `lr.Connector.fit`: `latents` (count trial, time, rank), `drift` (count trial, time - 1,
        rank), `inputs` as the model was given them (late by its lag), `lengths`, `alpha` and `copies`.
        """
        rank, alpha = self.model.rank, self.model.alpha
        count = checks.count("count", count)
        inside = jnp.asarray(self.recording.mask)[None, ..., None]
        drawn, ahead = self._drawn(key, count)
        z = jnp.where(inside, drawn[..., :rank], 0.0)
        y = (ahead[..., :rank] - (1 - alpha) * drawn[:, :, :-1, :rank]) / alpha
        inputs = self.recording.inputs
        if inputs is not None:
            inputs = np.tile(_lagged(inputs, self.model.lag), (count, 1, 1))
        return {
            "latents": np.concatenate(z),
            "drift": np.concatenate(y),
            "inputs": inputs,
            "lengths": np.tile(self.recording.lengths, count),
            "alpha": alpha,
            "copies": count,
        }

    def _drawn(self, key, count: int):
        """Paths (count, trial, time, dim), and the state expected after each of their states (count, trial, time - 1, dim)."""
        u, mask = _inputs(self.recording, self.model.lag), jnp.asarray(self.recording.mask, jnp.float32)
        return _draws(self.model, self.posterior, u, mask, key, count)

    def embedding(self) -> Embedding:
        r"""m, b and d of every neuron: how it reads the decision, the inputs, and its bias.

        b is one Fisher step from 0 in $h=m\cdot z+b\cdot u+d$ with the latents as they are and a weak prior. The latents have taken up most
        of what inputs do, so that b is small and ill-determined; without inputs there is none.
        """
        m = self.model.m[:, : self.model.rank]
        b = None
        if self.recording.n_inputs:
            data = _data(self.recording, self.baseline, self.model.lag)
            b = _input_weights(self.model, self.posterior, data)
        return Embedding(m, b, self.model.d if self.model.bias else None)

    def with_network(self, network: LowRankNetwork) -> "StateSpaceFit":
        r"""The same read-out and noise with the drift of a network of `tanh` neurons, in the model's own coordinates.

        **Raises** `ValueError` for another activation, rank or number of inputs.
        """
        model, embedding = self.model, network.embedding
        expected = (model.rank, model.features.shape[1] - model.rank - 1)
        if network.activation != "tanh" or (network.rank, embedding.n_inputs) not in (
            expected,
            (expected[0], 0),
        ):
            raise ValueError(
                f"network: expected tanh neurons of rank {expected[0]} with {expected[1]} inputs or none, got "
                f"{network.activation}, rank {network.rank}, {embedding.n_inputs} inputs"
            )
        b = jnp.zeros((network.n_neurons, expected[1])) if embedding.b is None else embedding.b
        d = jnp.zeros(network.n_neurons) if embedding.d is None else embedding.d
        features = jnp.concatenate([embedding.m, b, d[:, None]], axis=1)
        model = eqx.tree_at(lambda s: (s.features, s.n), model, (features, network.n / network.n_neurons))
        return eqx.tree_at(lambda s: s.model, self, model)

    def rates(self, posterior: Posterior | None = None) -> Float[np.ndarray, "trial time neuron"]:
        """Expected counts a bin, or rates, under a posterior; of all neurons."""
        posterior = posterior or self.posterior
        expected = np.asarray(_expected(self.model, posterior))
        return expected if self.baseline is None else self.baseline * expected

    def _latents(self, z) -> Latents:
        inside = jnp.asarray(self.recording.mask)[..., None]
        model, rank = self.model, self.model.rank
        scale = jnp.ones(len(model.d))
        if self.baseline is not None:
            at_zero = float(resolve(model.activation)(jnp.zeros(())))
            scale = jnp.asarray(self.recording.mean_rates / at_zero, jnp.float32)
        inputs = self.recording.inputs
        return Latents(
            z=jnp.where(inside, z[..., :rank], 0.0),
            lengths=self.recording.lengths,
            embedding=Embedding(model.m[:, :rank], d=model.d if model.bias else None),
            scale=scale,
            inputs=None if inputs is None else jnp.asarray(_lagged(inputs, model.lag)),
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
    baseline=None,
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

    One iteration: (1) every bin's observations as a Gaussian in z (expected gradient and Fisher information under the posterior
    so far, damped), the drift linearised over the posterior, a Kalman smoother; (2) paths drawn from it, weighted by the drift as it
    is (`lrcore.paths`): a linearised one would wear bends off the drift, step by step, and with them fixed points; (3) a Fisher step
    for m and d; n by ridge regression of $(z_{t+1}-(1-\alpha)z_t)/\alpha$ on the features **along these paths**: posterior means would
    shrink the drift; covariances in closed form. The latents are kept white.

    **Arguments**

    - `recording`: spikes (Poisson) or rates (Gaussian).
    - `rank`: of the decision; `nuisance`: further dimensions with a linear memory and no inputs, for trial gain and shared noise.
    - `alpha`: $\Delta t/\tau$; by default with $\tau$ = 0.1 s.
    - `activation`: $\phi$ of the read-out; "softplus" for spikes and "linear" for rates by default. `bias`: fit $d_i$.
    - `baseline`: (trial, time, neuron), expected counts a bin without z; by default each neuron's mean. See `lr.baseline`.
    - `lag`: bins by which inputs act late. `features`: random ones of F; `ridge`: relative to their mean square.
    - `q`: EM starts from Q = q I, of white latents, and stays near it. With much less it finds no attractors; with more, flows are smoothed
      and stable points drawn together (benchmarks/README.md).
    - `same_start`: all trials begin at the same decision state, to a variance of 0.02 of that over all bins; False to
      estimate how they begin.
    - `start`: latents to start from, of rank `rank + nuisance`; by default those of factor analysis.

    **Raises** `ValueError` for a rank that the neurons cannot carry, a baseline that is not positive or of another shape.

    Source: Kalman smoothing with conjugate-computation variational inference, Khan & Lin (2017), AISTATS; drifts
    linearised as in Särkkä (2013), Bayesian Filtering and Smoothing, section 6; the ridge step is Kim et al. (2026), section 3.

    >>> import jax.random as jr
    >>> from lrcore.datasets import clicks_session
    >>> found = fit(clicks_session(jr.key(0), n_trials=30).recording, 2, key=jr.key(1), iterations=2, progress=False)
    >>> found.posterior.mean.shape
    (30, 100, 2)
    """
    rank, nuisance = checks.count("rank", rank), checks.count("nuisance", nuisance, least=0)
    lag, features = checks.count("lag", lag, least=0), checks.count("features", features)
    # An array, so that another ridge is no other compilation.
    ridge = jnp.asarray(checks.positive("ridge", ridge), jnp.float32)
    alpha = checks.positive("alpha", recording.bin_width / 0.1 if alpha is None else alpha)
    counted = recording.rates is None
    activation = activation or ("softplus" if counted else "linear")
    dim = rank + nuisance
    if counted:
        baseline = _checked(baseline, recording)
    if start is None:
        z = factors.start(recording, dim, baseline, decision=rank)
    else:
        z = np.asarray(start.z)
        if z.shape[2] != dim:
            raise ValueError(f"start: expected latents of rank {dim}, got {z.shape[2]}")
    data = _data(recording, baseline, lag)
    feature_key, *keys = jr.split(key, 1 + iterations)
    # From a whole trial's gain to noise that is shared within a bin or two.
    memory = 1 - np.logspace(-2, np.log10(0.7), nuisance)
    model = StateSpace(
        m=jnp.zeros((recording.n_neurons, dim)),
        d=jnp.zeros(recording.n_neurons),
        variance=jnp.asarray(_variance(recording), jnp.float32),
        n=jnp.zeros((features, rank)),
        features=jr.normal(feature_key, (features, rank + data["u"].shape[-1] + 1)),
        q=checks.positive("q", q) * jnp.eye(rank),
        a=jnp.asarray(memory, jnp.float32),
        q_nuisance=jnp.asarray(1 - memory**2, jnp.float32),
        mean0=jnp.zeros(dim),
        v0=0.02 * jnp.eye(rank),
        alpha=float(alpha),
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
    sites = _sites(posterior)
    for _ in range(6):
        model = _read_out(model, posterior, data)
    # There are no dynamics yet that could weigh a path.
    drawn = jnp.stack([posterior.sample(one) for one in jr.split(keys[0], _PATHS)])
    drawn = drawn, jnp.full(drawn.shape[:2], 1 / _PATHS)
    model = _dynamics(model, posterior, drawn, data, ridge, jnp.asarray(True), jnp.asarray(1.0))
    change = []
    for k, one in enumerate(tqdm(keys, desc="state space", disable=not progress, leave=False)):
        before = posterior.mean
        posterior, sites = _infer(model, posterior, data, sites, jnp.asarray(_DAMPING if k else 1.0))
        drawn = _weighted(model, posterior, data["u"], data["mask"], one, _PATHS)
        model, posterior, sites, drawn = _whiten(model, posterior, sites, drawn, data["mask"])
        model = _read_out(model, posterior, data)
        # In fewer than thirty there is no time to average.
        share = 1.0 if 2 * k < max(iterations, 30) else _SHARE
        model = _dynamics(model, posterior, drawn, data, ridge, jnp.asarray(k < _HELD), jnp.asarray(share))
        change.append(float(_rms(posterior.mean - before, data["mask"])))
    for _ in range(3):
        posterior, sites = _infer(model, posterior, data, sites, jnp.asarray(_DAMPING))
    return StateSpaceFit(model, posterior, baseline, np.array(change), recording)


def infer(
    found: StateSpaceFit, recording: Recording, *, baseline=None, neurons=None, iterations: int = 8
) -> StateSpaceFit:
    """The posterior of other trials, from all neurons, from some, or from none, by a model that stays as it is.

    **Arguments**

    - `recording`: of the same neurons. `baseline`: (trial, time, neuron), of these trials.
    - `neurons`: boolean mask (neuron,) of those that are observed; none of them is a prediction from the inputs alone.
    """
    if recording.n_neurons != len(found.model.d):
        raise ValueError(
            f"recording: expected the {len(found.model.d)} neurons of the fit, got {recording.n_neurons}"
        )
    model = found.model
    if model.counted:
        if baseline is None:
            level = np.mean(found.baseline, axis=(0, 1), where=found.recording.mask[..., None])
            baseline = np.broadcast_to(level, recording.spikes.shape)
        baseline = _checked(baseline, recording)
    data = _data(recording, baseline, model.lag)
    if neurons is not None:
        data["seen"] = jnp.asarray(neurons, jnp.float32)
    trials, time = recording.mask.shape
    dim = model.m.shape[1]
    posterior = Posterior(
        jnp.tile(model.mean0, (trials, time, 1)),
        jnp.tile(0.3 * jnp.eye(dim), (trials, time, 1, 1)),
        jnp.zeros((trials, time - 1, dim, dim)),
    )
    sites = _sites(posterior)
    for k in range(iterations):
        posterior, sites = _infer(model, posterior, data, sites, jnp.asarray(_DAMPING if k else 1.0))
    return StateSpaceFit(model, posterior, baseline, np.zeros(0), recording)


# --- the data


def _checked(baseline, recording: Recording) -> np.ndarray:
    if baseline is None:
        baseline = recording.mean_rates * recording.bin_width
    baseline = np.asarray(baseline, np.float32)
    shape = recording.spikes.shape
    if baseline.ndim == 1:
        baseline = np.broadcast_to(baseline, shape)
    if baseline.shape != shape:
        raise ValueError(
            f"baseline: expected the shape {shape} of (trial, time, neuron), got {baseline.shape}"
        )
    inside = baseline[recording.mask]
    if not (np.isfinite(inside) & (inside > 0)).all():
        bad = int((~(np.isfinite(inside) & (inside > 0))).sum())
        raise ValueError(
            f"baseline: expected positive counts a bin, got {bad:,} others: leave silent neurons out with "
            "recording.drop_constant()"
        )
    return np.where(recording.mask[..., None], baseline, 1.0).astype(np.float32)


def _lagged(inputs, lag: int):
    """What acts on the step from t to t+1: the inputs of t - lag."""
    late = np.zeros_like(inputs)
    late[:, lag:] = inputs[:, : inputs.shape[1] - lag]
    return late


def _inputs(recording: Recording, lag: int):
    inputs = recording.inputs
    if inputs is None:
        inputs = np.zeros((*recording.mask.shape, 0), np.float32)
    return jnp.asarray(_lagged(inputs, lag))


def _data(recording: Recording, baseline, lag: int) -> dict:
    return {
        "y": jnp.asarray(recording.signal, jnp.float32),
        "c": jnp.ones((1, 1, 1)) if baseline is None else jnp.asarray(baseline),
        "u": _inputs(recording, lag),
        "mask": jnp.asarray(recording.mask, jnp.float32),
        "seen": jnp.ones(recording.n_neurons),
    }


def _variance(recording: Recording):
    return np.var(recording.signal.astype(np.float64), axis=(0, 1), where=recording.mask[..., None])


# --- the observations


def _phi(model: StateSpace):
    phi = resolve(model.activation)
    at_zero = phi(jnp.zeros(())) if model.counted else 1.0
    return lambda h: phi(h) / at_zero


def _spread(covariance, m):
    """Variance of the potentials, (..., neuron), without an intermediate of (..., neuron, dim)."""
    pairs = (m[:, :, None] * m[:, None, :]).reshape(len(m), -1)
    return covariance.reshape(*covariance.shape[:-2], -1) @ pairs.T


def _scores(model: StateSpace, mean, covariance, y, c):
    """Expected gradient and Fisher information of a potential, (time, neuron) each, and the expected error squared."""
    phi = _phi(model)
    centre = mean @ model.m.T + model.d[None]
    deviation = jnp.sqrt(jnp.maximum(_spread(covariance, model.m), 0.0))
    gradient = information = error = 0.0
    for node, weight in _NODES:
        h = centre + node * deviation
        rate, slope = jax.jvp(phi, (h,), (jnp.ones_like(h),))
        if model.counted:
            ratio = slope / jnp.maximum(rate, 1e-6)
            gradient += weight * (y - c * rate) * ratio
            information += weight * c * slope * ratio
        else:
            gradient += weight * (y - rate) * slope / model.variance[None]
            information += weight * slope**2 / model.variance[None]
            error += weight * (y - rate) ** 2
    return gradient, information, error


@eqx.filter_jit
def _expected(model: StateSpace, posterior: Posterior):
    def one(pair):
        mean, covariance = pair
        centre = mean @ model.m.T + model.d[None]
        deviation = jnp.sqrt(jnp.maximum(_spread(covariance, model.m), 0.0))
        return sum(weight * _phi(model)(centre + node * deviation) for node, weight in _NODES)

    return jax.lax.map(one, (posterior.mean, posterior.covariance))


def _per_trial(data):
    return data["y"], jnp.broadcast_to(data["c"], data["y"].shape), data["mask"]


# --- inference


def _sites(posterior: Posterior):
    """No evidence yet."""
    return jnp.zeros_like(posterior.covariance), jnp.zeros_like(posterior.mean)


@eqx.filter_jit
def _infer(model: StateSpace, posterior: Posterior, data, sites, damping):
    """The observations' Gaussian sites, `damping` of them new, and the smoother."""
    pairs = (model.m[:, :, None] * model.m[:, None, :]).reshape(len(model.m), -1)
    dim = model.m.shape[1]

    def observe(parts):
        mean, covariance, y, c, mask = parts
        gradient, information, _ = _scores(model, mean, covariance, y, c)
        keep = mask[:, None] * data["seen"][None]
        gradient, information = keep * gradient, keep * information
        precision = (information @ pairs).reshape(-1, dim, dim)
        shift = gradient @ model.m + (precision @ mean[..., None])[..., 0]
        return precision, shift

    new = jax.lax.map(observe, (posterior.mean, posterior.covariance, *_per_trial(data)))
    new = tuple(damping * b + (1 - damping) * a for a, b in zip(sites, new, strict=True))
    return _smoothed(model, posterior, data["u"], data["mask"], *new), new


def _linear(model: StateSpace, mean, covariance, u):
    """The step's A, offset and residual covariance over a Gaussian of states, by 2 R cubature points."""
    rank, dim = model.rank, len(mean)
    root = cholesky(covariance[:rank, :rank])
    away = jnp.sqrt(rank) * root.T
    centre = mean[:rank]
    same = jnp.broadcast_to(u, (rank, *u.shape))
    up, down = model._step(centre[None] + away, same), model._step(centre[None] - away, same)
    slope = (up - down).T / (2 * jnp.sqrt(rank))
    a = slope @ root.T @ inverse(root @ root.T)
    value = (up.mean(axis=0) + down.mean(axis=0)) / 2
    off = jnp.concatenate([up, down]) - value[None]
    rest = off.T @ off / (2 * rank) - slope @ slope.T
    place = jnp.arange(rank, dim)
    whole = jnp.zeros((dim, dim)).at[:rank, :rank].set(a).at[place, place].set(model.a)
    noise = jnp.zeros((dim, dim)).at[:rank, :rank].set(model.q + rest).at[place, place].set(model.q_nuisance)
    return whole, jnp.zeros(dim).at[:rank].set(value - a @ centre), noise


def _moves(model: StateSpace, posterior: Posterior, u):
    """The linearised steps: A, offset and noise, (time - 1, trial, ...)."""
    over = jax.vmap(jax.vmap(functools.partial(_linear, model)), in_axes=1, out_axes=0)
    return over(posterior.mean[:, :-1], posterior.covariance[:, :-1], u[:, :-1])


def _smoothed(model: StateSpace, posterior: Posterior, u, mask, precision, shift) -> Posterior:
    """The posterior under the drift linearised at the last one."""
    dim, rank = model.m.shape[1], model.rank
    stationary = model.q_nuisance / jnp.maximum(1 - model.a**2, 1e-3)
    first = jnp.diag(jnp.concatenate([jnp.zeros(rank), stationary])).at[:rank, :rank].set(model.v0)
    a, offset, noise = _moves(model, posterior, u)
    # Beyond a trial's end nothing is seen and an unstable drift would run away; what stands there does not act back.
    inside = mask[:, 1:].T[..., None] > 0
    a = jnp.where(inside[..., None], a, (1 - model.alpha) * jnp.eye(dim)[None, None])
    offset = jnp.where(inside, offset, 0.0)
    moves = tuple(jnp.moveaxis(x, 1, -1) for x in (a, offset, noise))
    return smooth((model.mean0, first), moves, precision, shift)


def _steps(model: StateSpace, posterior: Posterior, u):
    """Linearised steps by trial, and the step itself."""
    moves = tuple(jnp.swapaxes(x, 0, 1) for x in _moves(model, posterior, u))
    return moves, lambda z: model._step(z[..., : model.rank], u[:, :-1])


@eqx.filter_jit
def _weighted(model: StateSpace, posterior: Posterior, u, mask, key, count: int):
    moves, step = _steps(model, posterior, u)
    return paths.weighted(posterior, moves, step, model.q, mask[:, 1:], key, count)


@eqx.filter_jit
def _draws(model: StateSpace, posterior: Posterior, u, mask, key, count: int):
    """Paths without weights, and the states expected from theirs."""
    moves, step = _steps(model, posterior, u)
    path_key, key = jr.split(key)
    # Enough of them that hardly one is taken twice.
    many = max(16, 4 * count)
    drawn, weights = paths.weighted(posterior, moves, step, model.q, mask[:, 1:], path_key, many)
    drawn = paths.resampled(drawn, weights, key, count)
    return drawn, jax.lax.map(lambda z: paths.expected(posterior, moves, step, z), drawn)


# --- parameters


@eqx.filter_jit
def _read_out(model: StateSpace, posterior: Posterior, data) -> StateSpace:
    """A damped Fisher step in m and d, and the noise of rates."""
    dim = model.m.shape[1]

    def one(total, parts):
        mean, covariance, y, c, mask = parts
        gradient, information, error = _scores(model, mean, covariance, y, c)
        gradient, information = mask[:, None] * gradient, mask[:, None] * information
        design = jnp.concatenate([mean, jnp.ones((len(mean), 1))], axis=1)
        pairs = jnp.pad(covariance, ((0, 0), (0, 1), (0, 1))) + design[:, :, None] * design[:, None, :]
        fisher = information.T @ pairs.reshape(len(mean), -1)
        # Stein: E[gradient z] = E[gradient] mean - P m E[information], by the expected curvature.
        spread = (information.T @ covariance.reshape(len(mean), -1)).reshape(-1, dim, dim)
        slope = gradient.T @ design
        slope = slope.at[:, :dim].add(-jnp.einsum("nij,nj->ni", spread, model.m))
        squares = jnp.sum(mask[:, None] * error, axis=0) if not model.counted else 0.0
        return (total[0] + fisher, total[1] + slope, total[2] + squares), None

    n = len(model.d)
    zero = (jnp.zeros((n, (dim + 1) ** 2)), jnp.zeros((n, dim + 1)), jnp.zeros(n))
    parts = (posterior.mean, posterior.covariance, *_per_trial(data))
    (fisher, slope, squares), _ = jax.lax.scan(one, zero, parts)
    fisher = fisher.reshape(n, dim + 1, dim + 1)
    # A prior of standard deviation 1 on every weight: nothing where there are spikes, and no blow-up where there are few.
    now = jnp.concatenate([model.m, model.d[:, None]], axis=1)
    prior = jnp.ones(dim + 1)
    if not model.counted:
        prior = 1e-3 * prior
    fisher = fisher + jnp.diag(prior)[None]
    slope = slope - prior[None] * now
    if not model.bias:
        fisher = fisher.at[:, dim, :].set(0.0).at[:, :, dim].set(0.0).at[:, dim, dim].set(1.0)
        slope = slope.at[:, dim].set(0.0)
    change = jnp.linalg.solve(fisher, slope[..., None])[..., 0]
    size = jnp.linalg.norm(change, axis=1, keepdims=True)
    new = now + change * jnp.minimum(1.0, 1.0 / jnp.maximum(size, 1e-9))
    changed = eqx.tree_at(lambda s: (s.m, s.d), model, (new[:, :dim], new[:, dim]))
    if not model.counted:
        changed = eqx.tree_at(lambda s: s.variance, changed, jnp.maximum(squares / data["mask"].sum(), 1e-8))
    return changed


@eqx.filter_jit
def _input_weights(model: StateSpace, posterior: Posterior, data):
    """One Fisher step for b (neuron, input), from 0."""

    def one(total, parts):
        mean, covariance, y, c, mask, u = parts
        gradient, information, _ = _scores(model, mean, covariance, y, c)
        pairs = (u[:, :, None] * u[:, None, :]).reshape(len(u), -1)
        kept = mask[:, None]
        return (total[0] + (kept * information).T @ pairs, total[1] + (kept * gradient).T @ u), None

    n, inputs = len(model.d), data["u"].shape[-1]
    parts = (posterior.mean, posterior.covariance, *_per_trial(data), data["u"])
    (fisher, slope), _ = jax.lax.scan(one, (jnp.zeros((n, inputs**2)), jnp.zeros((n, inputs))), parts)
    return jnp.linalg.solve(fisher.reshape(n, inputs, inputs) + jnp.eye(inputs)[None], slope[..., None])[
        ..., 0
    ]


@eqx.filter_jit
def _dynamics(model: StateSpace, posterior: Posterior, drawn, data, ridge, held, share) -> StateSpace:
    """n by ridge regression along weighted paths, `share` of it new; noise, memory and start in closed form."""
    rank, alpha = model.rank, model.alpha
    mask = data["mask"][:, 1:]
    count = mask.sum()
    u = data["u"][:, :-1]

    def one(total, parts):
        z, weight = parts
        z = z[..., :rank]
        wanted = (z[:, 1:] - (1 - alpha) * z[:, :-1]) / alpha
        x = jnp.concatenate([model._hidden(z[:, :-1], u), wanted], axis=-1)
        x = (x * jnp.sqrt(weight[:, None] * mask)[..., None]).reshape(-1, x.shape[-1])
        return total + x.T @ x, None

    j = len(model.n)
    moments, _ = jax.lax.scan(one, jnp.zeros((j + rank, j + rank)), drawn)
    gram, cross = moments[:j, :j], moments[:j, j:]
    n = jnp.linalg.solve(gram + ridge * jnp.trace(gram) / j * jnp.eye(j), cross)
    explained = n.T @ cross
    left = moments[j:, j:] - explained - explained.T + n.T @ gram @ n
    q = alpha**2 * left / count + 1e-6 * jnp.eye(rank)
    here, ahead, gain = posterior.mean[:, :-1], posterior.mean[:, 1:], posterior.gain
    x = here[..., rank:] * mask[..., None]
    covariance = posterior.covariance[:, :-1]
    diagonal = jnp.diagonal(covariance, axis1=-2, axis2=-1)[..., rank:] * mask[..., None]
    next_diagonal = (
        jnp.diagonal(posterior.covariance[:, 1:], axis1=-2, axis2=-1)[..., rank:] * mask[..., None]
    )
    between = jnp.diagonal(gain @ covariance, axis1=-2, axis2=-1)[..., rank:] * mask[..., None]
    x_next = ahead[..., rank:] * mask[..., None]
    both = jnp.sum(x * x_next + between, axis=(0, 1))
    square = jnp.sum(x**2 + diagonal, axis=(0, 1))
    a = jnp.clip(both / jnp.maximum(square, 1e-9), 0.0, 0.999)
    next_square = jnp.sum(x_next**2 + next_diagonal, axis=(0, 1))
    q_nuisance = jnp.maximum((next_square - 2 * a * both + a**2 * square) / count, 1e-5)
    mean0 = posterior.mean[:, 0].mean(axis=0).at[rank:].set(0.0)
    v0 = model.v0
    if not model.same_start:
        off = posterior.mean[:, 0, :rank] - mean0[None, :rank]
        v0 = off.T @ off / len(off) + posterior.covariance[:, 0, :rank, :rank].mean(axis=0)
    n = share * n + (1 - share) * model.n
    new = eqx.tree_at(lambda s: (s.n, s.mean0, s.v0), model, (n, mean0, v0))
    noises = ((q + q.T) / 2, a, q_nuisance)
    before = (model.q, model.a, model.q_nuisance)
    noises = jax.tree.map(lambda old, now: jnp.where(held, old, now), before, noises)
    return eqx.tree_at(lambda s: (s.q, s.a, s.q_nuisance), new, noises)


@eqx.filter_jit
def _whiten(model: StateSpace, posterior: Posterior, sites, drawn, mask):
    """Latents white over all valid bins, each nuisance dimension of variance 1; m and d follow. n and q have to be fitted again."""
    rank, dim = model.rank, model.m.shape[1]
    weight = mask / mask.sum()
    centre = jnp.einsum("st,std->d", weight, posterior.mean)
    # Without biases there is nothing to take an offset up.
    centre = centre if model.bias else jnp.zeros(dim)
    off = posterior.mean - centre[None, None]
    total = jnp.einsum("st,sti,stj->ij", weight, off, off) + jnp.einsum(
        "st,stij->ij", weight, posterior.covariance
    )
    values, vectors = jnp.linalg.eigh(total[:rank, :rank])
    root = (vectors * jnp.sqrt(values)[None]) @ vectors.T
    back = jnp.zeros((dim, dim)).at[:rank, :rank].set(root)
    own = jnp.sqrt(jnp.diagonal(total)[rank:])
    back = back.at[jnp.arange(rank, dim), jnp.arange(rank, dim)].set(own)
    there = jnp.linalg.inv(back)
    d = model.d + model.m @ centre
    model = eqx.tree_at(lambda s: (s.m, s.d), model, (model.m @ back, d))
    moved = Posterior(off @ there.T, there @ posterior.covariance @ there.T, there @ posterior.gain @ back)
    precision, shift = sites
    shift = (shift - precision @ centre) @ back
    drawn = (drawn[0] - centre[None, None, None]) @ there.T, drawn[1]
    return model, moved, (back.T @ precision @ back, shift), drawn


def _rms(difference, mask):
    return jnp.sqrt(jnp.sum(difference**2 * mask[..., None]) / mask.sum() / difference.shape[-1])


def _t(x):
    return jnp.swapaxes(x, -1, -2)
