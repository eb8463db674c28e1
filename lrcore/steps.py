"""Steps of trajectories: states, inputs and the drift measured there, the one thing that connectivity is
regressed on.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from . import checks
from .checks import ArrayLike


class Steps(eqx.Module):
    r"""What is known of the drift: at every step a state, an input, and an estimate of $F(z_t,u_t)$.

    Made by `steps` from arrays, by `.steps()` of latents and of a state-space fit, and by `lr.latents.halves`
    from noisy rates. Every regression of the weights n takes it.

    **Arguments**

    - `z`: (step, rank), the states $z_t$. `u`: (step, input), the inputs $u_t$; None without inputs.
    - `y`: (step, rank), the drift targets $Y_t$, estimates of $F(z_t,u_t)$.
    - `trial`: (step,), the number of the trial that each step belongs to; what is estimated on some trials is
      judged on others.
    - `alpha`: $\Delta t/\tau$, in (0, 1].
    - `copies`: how often each step stands here, estimated otherwise each time: copies of a step are one
      measurement.

    All are kept in float64.

    **Raises** `ValueError` for no steps, shapes that disagree, NaN or infinity, `alpha` outside (0, 1], and a
    number of steps that `copies` does not divide.

    >>> import numpy as np
    >>> Steps(np.zeros((6, 2)), None, np.ones((6, 2)), [0, 0, 0, 1, 1, 1], alpha=0.1)
    Steps: 6 in 2 trials, of rank 2, without inputs; alpha 0.1
    states     standard deviation 0 x 0
    drift      root mean square 1 x 1
    """

    z: Float[np.ndarray, "step rank"]
    u: Float[np.ndarray, "step input"]
    y: Float[np.ndarray, "step rank"]
    trial: Int[np.ndarray, " step"]
    alpha: float
    copies: int

    def __init__(self, z: ArrayLike, u: ArrayLike, y: ArrayLike, trial: ArrayLike, *, alpha, copies: int = 1):
        z = np.asarray(checks.array("z", z, ("step", "rank")))
        if not z.size:
            raise ValueError(f"z: expected states (step, rank), got none, shape {z.shape}")
        sizes = {"step": z.shape[0], "rank": z.shape[1]}
        u = (
            np.zeros((len(z), 0))
            if u is None
            else np.asarray(checks.array("u", u, ("step", "input"), sizes=sizes))
        )
        y = np.asarray(checks.array("y", y, ("step", "rank"), sizes=sizes))
        trial = np.asarray(checks.array("trial", trial, ("step",), sizes=sizes))
        if (trial < 0).any() or (trial != np.floor(trial)).any():
            raise ValueError("trial: expected the whole number of a trial, 0 or more, for each step")
        self.z, self.u, self.y = (part.astype(np.float64) for part in (z, u, y))
        self.trial = trial.astype(np.int64)
        self.alpha = checks.fraction("alpha", alpha)
        self.copies = checks.count("copies", copies)
        if len(z) % self.copies:
            raise ValueError(f"copies: expected a divisor of the {len(z)} steps, got {copies}")
        if (self.trial.reshape(self.copies, -1) != self.trial[: self.measured]).any():
            raise ValueError(
                f"trial: expected the same trials in each of the {copies} copies, which stand one after "
                "another"
            )

    def __len__(self) -> int:
        return len(self.z)

    @property
    def rank(self) -> int:
        """R."""
        return self.z.shape[1]

    @property
    def n_inputs(self) -> int:
        """K."""
        return self.u.shape[1]

    @property
    def n_trials(self) -> int:
        """S, copies of a trial counted once."""
        return len(np.unique(self.trial))

    @property
    def measured(self) -> int:
        """T, how many steps were measured: copies counted once."""
        return len(self) // self.copies

    def explored(
        self, most: int = 4000
    ) -> tuple[Float[np.ndarray, "state rank"], Float[np.ndarray, "state input"]]:
        """The explored set: states and inputs that were visited; of more than `most` every k-th."""
        every = -(-len(self) // checks.count("most", most))
        return self.z[::every], self.u[::every]

    def thinned(self, most: int) -> "Steps":
        """Every k-th measured step, with all its copies, so that at most `most` steps are measured.

        >>> len(steps(np.zeros((3, 11, 1)), alpha=0.1).thinned(10))
        10
        """
        every = -(-self.measured // checks.count("most", most))
        rows = np.arange(len(self)).reshape(self.copies, -1)[:, ::every]
        return self._at(rows.ravel()) if every > 1 else self

    def of_trials(self, trials) -> "Steps":
        """The steps of some trials: their numbers, or a mask over the trials 0, 1, 2, ..., with all copies.

        **Raises** `ValueError` for no trial, or one that has no steps.

        >>> steps(np.zeros((3, 11, 1)), alpha=0.1).of_trials([0, 2])
        Steps: 20 in 2 trials, of rank 1, without inputs; alpha 0.1
        ...
        """
        trials = np.atleast_1d(np.asarray(trials))
        chosen = np.flatnonzero(trials) if trials.dtype == bool else trials
        missing = np.setdiff1d(chosen, self.trial)
        if not len(chosen) or len(missing):
            what = f"{missing[0]}, which has no steps" if len(missing) else "none"
            raise ValueError(
                f"trials: expected numbers of the {self.n_trials} trials that there are, got {what}"
            )
        return self._at(np.flatnonzero(np.isin(self.trial, chosen)))

    def with_tau(self, ratio) -> "Steps":
        r"""The same velocities with another time constant, `ratio` $\kappa$ times the one that was assumed:
        $z+\kappa(Y-z)$ in the place of Y.

        **Raises** `ValueError` for one that is shorter than a bin, as `alpha` would exceed 1.

        >>> steps(np.zeros((3, 11, 1)), alpha=0.1).with_tau(0.5).alpha
        0.2
        """
        ratio = checks.positive("ratio", ratio)
        y = self.z + ratio * (self.y - self.z)
        return Steps(self.z, self.u, y, self.trial, alpha=self.alpha / ratio, copies=self.copies)

    @classmethod
    def concatenate(cls, parts: Sequence["Steps"]) -> "Steps":
        """Steps of several recordings in the same coordinates, one after another; their trials are numbered
        anew.

        **Raises** `ValueError` for no parts, and for parts of other rank, inputs, alpha or copies.

        >>> one = steps(np.zeros((3, 11, 1)), alpha=0.1)
        >>> Steps.concatenate([one, one]).n_trials
        6
        """
        parts = [given(part) for part in ([parts] if isinstance(parts, Steps) else parts)]
        if not parts:
            raise ValueError("parts: expected at least one, got none")
        first = parts[0]
        for part in parts:
            for name in ("rank", "n_inputs", "alpha", "copies"):
                if getattr(part, name) != getattr(first, name):
                    raise ValueError(
                        f"parts: expected steps of the same {name}, got {getattr(first, name)} and "
                        f"{getattr(part, name)}"
                    )
        begins = np.cumsum([0] + [int(part.trial.max()) + 1 for part in parts[:-1]])
        trials = [part.trial + begin for part, begin in zip(parts, begins, strict=True)]

        def joined(arrays):
            # The first copies of all parts come first, then their second copies, and so on.
            by_copy = [x.reshape(first.copies, len(x) // first.copies, *x.shape[1:]) for x in arrays]
            return np.concatenate(by_copy, axis=1).reshape(sum(map(len, arrays)), *arrays[0].shape[1:])

        z, u, y = (joined([getattr(part, name) for part in parts]) for name in ("z", "u", "y"))
        return cls(z, u, y, joined(trials), alpha=first.alpha, copies=first.copies)

    def _at(self, rows: Int[np.ndarray, " row"]) -> "Steps":
        parts = (part[rows] for part in (self.z, self.u, self.y, self.trial))
        return Steps(*parts, alpha=self.alpha, copies=self.copies)

    def __repr__(self) -> str:
        inputs = f"with {self.n_inputs} inputs" if self.n_inputs else "without inputs"
        copies = f", {self.copies} copies of each" if self.copies > 1 else ""
        spread = " x ".join(f"{s:.3g}" for s in self.z.std(axis=0))
        power = " x ".join(f"{s:.3g}" for s in np.sqrt(np.mean(self.y**2, axis=0)))
        return "\n".join(
            [
                f"Steps: {len(self):,} in {self.n_trials:,} trials{copies}, of rank {self.rank}, {inputs}; "
                f"alpha {self.alpha:g}",
                f"states     standard deviation {spread}",
                f"drift      root mean square {power}",
            ]
        )


def drift_target(here: ArrayLike, following: ArrayLike, alpha: float):
    r"""$Y_t=\big(z_{t+1}-(1-\alpha)z_t\big)/\alpha$, the drift that takes $z_t$ to $z_{t+1}$ in a step of
    Euler's.

    >>> drift_target(1.0, 1.2, 0.5)
    1.4
    """
    return (following - (1 - alpha) * here) / alpha


def steps(
    latents: ArrayLike,
    *,
    alpha: float,
    inputs: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    drift=None,
    copies: int = 1,
) -> Steps:
    r"""All steps of all trials of latent trajectories.

    **Arguments**

    - `latents`: (trial, time, rank), or (time, rank) for one trial; each trial goes from one time to the next
      on its own.
    - `alpha`: $\Delta t/\tau$, in (0, 1].
    - `inputs`: (trial, time, input), or one time shorter; `inputs[:, t]` drives the step from t to t+1.
    - `lengths`: (trial,) valid times of each trial; all by default. Beyond them anything may stand, also NaN.
    - `drift`: (trial, time - 1, rank), estimates of $F(z_t,u_t)$ to take for Y; by default `drift_target` of
      the latents. Where latents are noisy, their error enters z and Y together and Y looks predictable, by
      $-(1-\alpha)/\alpha$ times the error. Estimates whose errors are independent of those of `latents`
      average out.
    - `copies`: how often all trials stand one after another in `latents`, each time estimated otherwise.

    **Raises** `ValueError` for shapes that disagree, `alpha` outside (0, 1], a number of trials that `copies`
    does not divide, and, without `lengths`, trials that end in exact zeros, which is what padding looks like;
    `TypeError` for latents that are no array.

    >>> found = steps(np.zeros((3, 5, 1)), lengths=[5, 2, 3], alpha=0.1)
    >>> len(found), found.trial.tolist()
    (7, [0, 0, 0, 0, 1, 2, 2])
    """
    latents = _array(latents)
    trials, n_time, rank = latents.shape
    valid = checks.lengths(lengths, trials, n_time)
    within = checks.inside(valid, n_time)
    if lengths is None:
        _not_padded(latents)
    latents = checks.array("latents", np.where(within[..., None], latents, 0), ("trial", "time", "rank"))
    alpha, copies = checks.fraction("alpha", alpha), checks.count("copies", copies)
    if trials % copies:
        raise ValueError(f"copies: expected a divisor of the {trials} trials, got {copies}")
    taken = within[:, 1:]
    here = latents[:, :-1][taken].astype(np.float64)
    if drift is None:
        y = drift_target(here, latents[:, 1:][taken].astype(np.float64), alpha)
    else:
        y = _along("drift", drift, taken, ("trial", "time - 1", "rank"), rank)
    u = (
        None
        if inputs is None
        else _along("inputs", _shortened(inputs, n_time), taken, ("trial", "time - 1", "input"))
    )
    # A trial and its copies have one number, so that they are held out together.
    trial = np.repeat(np.arange(trials) % (trials // copies), valid - 1)
    return Steps(here, u, y, trial, alpha=alpha, copies=copies)


def given(value) -> Steps:
    """The `Steps` that a function was given; anything else is refused with the way to make them."""
    if isinstance(value, Steps):
        return value
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray | jax.Array) else ""
    raise TypeError(
        f"steps: expected lr.Steps, got {type(value).__name__}{shape}: make them by latents.steps(tau=...), "
        "by fit.steps(key) of a state-space fit, or from arrays by lr.steps(latents, alpha=..., "
        "lengths=...)"
    )


def _array(latents) -> Shaped[np.ndarray, "trial time rank"]:
    """Latents as an array of trials; what stands beyond their lengths is looked at later."""
    if isinstance(latents, eqx.Module):
        raise TypeError(
            f"latents: expected an array (trial, time, rank), got {type(latents).__name__}: latents have "
            "their own .steps(), which knows the lengths; of a recording infer latents first"
        )
    latents = np.asarray(checks.array("latents", latents, ("...", "time", "rank"), padded=True))
    latents = latents[None] if latents.ndim == 2 else latents
    if latents.ndim != 3 or not latents.shape[2]:
        raise ValueError(f"latents: expected axes (trial, time, rank), got an array of shape {latents.shape}")
    return latents


def _not_padded(latents) -> None:
    """Refuse trials that end in exact zeros after other states: that is padding, which a fit would take for a
    jump to 0.
    """
    at_zero = (latents == 0).all(axis=2)
    ends = at_zero[:, -1] & ~at_zero.all(axis=1)
    if ends.any():
        # Bins up to the last that is not zero.
        first = int(ends.argmax())
        length = latents.shape[1] - int((~at_zero[first])[::-1].argmax())
        raise ValueError(
            f"latents: expected states up to the last time, got exact zeros at the end of {int(ends.sum())} "
            f"of {len(latents)} trials, in trial {first} after {length} of {latents.shape[1]} times: give "
            "`lengths`, such as latents.lengths; if these zeros are states, give the full lengths"
        )


def _shortened(inputs, n_time: int):
    """Inputs of the steps: the last time drives none."""
    inputs = np.asarray(inputs)
    inputs = inputs[None] if inputs.ndim == 2 else inputs
    return inputs[:, :-1] if inputs.ndim == 3 and inputs.shape[1] == n_time else inputs


def _along(name: str, value, taken, axes: tuple[str, str, str], size: int | None = None):
    """Values (trial, time - 1, ...) at the steps that are taken, (step, ...) in float64."""
    value = np.asarray(value)
    value = value[None] if value.ndim == 2 else value
    sizes = dict(zip(axes[:2], taken.shape, strict=True)) | ({} if size is None else {axes[2]: size})
    value = np.asarray(checks.array(name, value, axes, sizes=sizes, padded=True))
    value = value[taken].astype(np.float64)
    checks.finite(name, value)
    return value
