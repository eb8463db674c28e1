"""The one training loop: everything that is trained by gradients is trained here."""

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from tqdm import tqdm

from . import checks
from .saving import write_whole


class Fit(eqx.Module):
    """What training leaves behind.

    - `model`: the best model on the validation data. Without these the last one; or, after a divergence, the
      one after the chunk of updates with the lowest mean loss.
    - `losses`: (update,) training loss of each update that was run.
    - `validation`: (check,) validation loss after each chunk of updates; empty without validation data.
    - `best_update`: number of updates after which `model` stood.
    - `stopped`: why training ended: `"finished"`, `"no progress"`, `"interrupted"` or `"diverged"`.
    """

    model: PyTree
    losses: Float[np.ndarray, " update"]
    validation: Float[np.ndarray, " check"]
    best_update: int
    stopped: str

    def __repr__(self) -> str:
        checked = ""
        if len(self.validation):  # of the model that was kept, which need not be the lowest
            kept = max(self.best_update * len(self.validation) // len(self.losses), 1)
            checked = f"; validation loss {self.validation[kept - 1]:.4g}"
        last = f", loss {self.losses[-1]:.4g}" if len(self.losses) else ""
        return (
            f"Fit: {self.stopped} after {len(self.losses):,} updates{last}{checked}; the model is that of "
            f"update {self.best_update:,}"
        )


class _State(eqx.Module):
    """Everything that a resumed run needs. Its shapes are fixed, so that a checkpoint is one array after
    another.
    """

    parameters: PyTree
    average: PyTree
    best: PyTree
    optimizer: PyTree
    step: Array
    best_loss: Array
    best_update: Array
    losses: Array | np.ndarray
    validation: Array | np.ndarray


@functools.cache
def adam(learning_rate: float, updates: int) -> optax.GradientTransformation:
    """Adam with a warm-up, a cosine decay to nothing, and clipped gradients. Cached, so that a second fit
    compiles nothing.
    """
    warm = max(updates // 50, 1)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warm, max(updates, warm + 1))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def fit(
    model: PyTree,
    loss: Callable,
    data: PyTree,
    *,
    key: PRNGKeyArray,
    updates: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    optimizer: optax.GradientTransformation | None = None,
    validation: PyTree = None,
    patience: int | None = None,
    average: bool = True,
    margin: float = 0.0,
    chunk: int = 100,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    name: str = "training",
) -> Fit:
    """Minimise `loss` over the floating-point leaves of `model`.

    **Arguments**

    - `model`: a PyTree (an `equinox.Module`).
    - `loss`: `loss(model, batch, key)` -> scalar; a module-level function is compiled once for all fits.
    - `data`: PyTree of arrays that share their first axis, from which batches are drawn with replacement.
    - `key`: update `i` uses `fold_in(key, i)`, so that a resumed run repeats an uninterrupted one exactly.
    - `updates`, `batch_size`, `learning_rate`: of the parameters; `updates` is rounded up to whole chunks.
    - `optimizer`: an optax transformation in place of `adam(learning_rate, updates)`.
    - `validation`: data of the same kind; the best model on it is returned.
    - `patience`: stop after this many chunks without a better validation loss.
    - `average`: validate and return an average of the parameters over about the last tenth of the updates so
      far, which takes the noise of the batches out of them.
    - `margin`: a later model takes the place of the best one even where its validation loss is larger by less
      than this fraction, as differences of that size are chance.
    - `chunk`: updates compiled into one scan; between chunks there is validation, progress, checkpoint.
    - `checkpoint`: a file. It is written after every chunk, whole or not at all, and an existing one is
      resumed.
    - `progress`: a progress bar on the error stream, called `name`.

    An interruption (Ctrl-C) ends training and returns the best model so far.

    **Raises** `ValueError` for a checkpoint of another model, other data or other settings; `ValueError` for
    data whose first axes differ; `FloatingPointError` when the very first chunk already diverges.

    >>> import jax.numpy as jnp, jax.random as jr
    >>> def loss(model, batch, key):
    ...     return jnp.mean((model - batch) ** 2)
    >>> data = jnp.full(10, 3.0)
    >>> options = {"updates": 300, "batch_size": 5, "learning_rate": 0.1, "progress": False}
    >>> done = fit(jnp.zeros(()), loss, data, key=jr.key(0), **options)
    >>> abs(float(done.model) - 3.0) < 0.01, len(done.losses)
    (True, 300)
    """
    updates, batch_size, learning_rate, patience, margin, chunk = checked(
        updates=updates,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        margin=margin,
        chunk=chunk,
    )
    average = bool(average)
    n_chunks = -(-updates // chunk)
    chunk = -(-updates // n_chunks)
    optimizer = optimizer or adam(learning_rate, n_chunks * chunk)
    _same_first_axis("data", data)
    if validation is None:
        patience = None
    else:
        _same_first_axis("validation", validation)

    parameters, static = eqx.partition(model, eqx.is_inexact_array)
    state = _State(
        parameters=parameters,
        average=parameters,
        best=parameters,
        optimizer=eqx.filter_jit(optimizer.init)(parameters),
        step=jnp.array(0),
        best_loss=jnp.asarray(
            np.inf, jnp.result_type(float)
        ),  # not of a weak type, or the second chunk would compile anew
        best_update=jnp.array(0),
        # Zeros until they are known: NaN would look like a failure to `jax_debug_nans`.
        losses=np.zeros(n_chunks * chunk, jnp.result_type(float)),
        validation=np.zeros(n_chunks, jnp.result_type(float)),
    )
    if checkpoint is not None:
        settings = [
            n_chunks,
            chunk,
            batch_size,
            average,
            margin,
            learning_rate,
            getattr(loss, "__qualname__", ""),
        ]
        mark = _fingerprint(settings, state, data, validation, jr.key_data(key))
        state = _load(checkpoint, state, mark)

    stopped = "finished"
    bar = tqdm(total=n_chunks * chunk, initial=int(state.step), desc=name, disable=not progress, leave=False)
    try:
        while (done := int(state.step)) < n_chunks * chunk:
            check = done // chunk
            if patience is not None and (check - int(state.best_update) // chunk) > patience:
                stopped = "no progress"
                break
            new, losses, score = _run(
                state, static, loss, data, validation, key, optimizer, batch_size, chunk, average, margin
            )
            losses = np.asarray(losses)
            if not np.isfinite(losses[-1]):
                stopped = "diverged"
                break
            state = eqx.tree_at(
                lambda s: (s.losses, s.validation),
                new,
                (
                    np.concatenate([state.losses[:done], losses, state.losses[done + chunk :]]),
                    np.concatenate(
                        [state.validation[:check], np.asarray(score)[None], state.validation[check + 1 :]]
                    ),
                ),
            )
            if checkpoint is not None:
                _save(checkpoint, state, mark)
            bar.update(chunk)
            shown = {"loss": f"{losses.mean():.4g}"}
            if validation is not None:
                kept = int(state.best_update)
                at = (
                    f"{float(state.validation[kept // chunk - 1]):.4g} of update {kept}"
                    if kept
                    else "nothing"
                )
                shown |= {"validation": f"{float(score):.4g}", "kept": at}
            bar.set_postfix(**shown)
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        bar.close()
    done = int(state.step)
    if stopped == "diverged" and done == 0:
        raise FloatingPointError(
            f"{name}: the loss is not finite within the first {chunk} updates: lower learning_rate, check "
            "the data"
        )
    judged = validation is not None or stopped == "diverged"
    return Fit(
        model=eqx.combine(state.best if judged else state.average, static),
        losses=np.asarray(state.losses)[:done],
        validation=np.asarray(state.validation)[: 0 if validation is None else done // chunk],
        best_update=int(state.best_update) if judged else done,
        stopped=stopped,
    )


def checked(
    *,
    updates: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    patience: int | None = None,
    margin: float = 0.0,
    chunk: int = 100,
    **others: Any,
) -> tuple[int, int, float, int | None, float, int]:
    """The numbers among the options of `fit`, each refused where no training can have it.

    `others` are the names and choices; those that `fit` does not know are refused.

    **Raises** `ValueError` for numbers out of range; `TypeError` for fractions where a count is expected, and
    for unknown options.

    >>> checked(updates=100, batch_size=0)
    Traceback (most recent call last):
    ValueError: batch_size: expected at least 1, got 0
    """
    unknown = others.keys() - inspect.signature(fit).parameters.keys()
    if unknown:
        raise TypeError(f"options: expected those of lr.optimize.fit, got {', '.join(sorted(unknown))}")
    return (
        checks.count("updates", updates),
        checks.count("batch_size", batch_size),
        checks.positive("learning_rate", learning_rate),
        None if patience is None else checks.count("patience", patience, least=0),
        checks.positive("margin", margin, zero=True),
        checks.count("chunk", chunk),
    )


@eqx.filter_jit
def _run(state, static, loss, data, validation, key, optimizer, batch_size, chunk, average, margin):
    """`chunk` updates in one scan, then the validation loss."""
    size = len(jax.tree.leaves(data)[0])

    def step(carry, index):
        parameters, averaged, moments = carry
        batch_key, loss_key = jr.split(jr.fold_in(key, index))
        rows = jr.randint(batch_key, (batch_size,), 0, size)
        batch = jax.tree.map(lambda leaf: leaf[rows], data)
        value, gradient = jax.value_and_grad(lambda p: loss(eqx.combine(p, static), batch, loss_key))(
            parameters
        )
        updates, moments = optimizer.update(gradient, moments, parameters)
        parameters = optax.apply_updates(parameters, updates)
        decay = index / (index + 10.0) if average else 0.0
        averaged = jax.tree.map(
            lambda a, p: (decay * a + (1 - decay) * p).astype(p.dtype), averaged, parameters
        )
        return (parameters, averaged, moments), value

    start = (state.parameters, state.average, state.optimizer)
    (parameters, averaged, moments), losses = jax.lax.scan(step, start, state.step + jnp.arange(chunk))
    done = state.step + chunk
    if validation is None:
        score = losses.mean()
    else:
        score = loss(eqx.combine(averaged, static), validation, jr.fold_in(key, 2**31 - 1))
    better = score - margin * jnp.abs(score) < state.best_loss
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), averaged, state.best)
    state = _State(
        parameters=parameters,
        average=averaged,
        best=best,
        optimizer=moments,
        step=done,
        best_loss=jnp.fmin(score, state.best_loss),
        best_update=jnp.where(better, done, state.best_update),
        losses=state.losses,
        validation=state.validation,
    )
    return state, losses, score


def _same_first_axis(name: str, data) -> None:
    sizes = {len(leaf) for leaf in jax.tree.leaves(data)}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"{name}: expected arrays that share a first axis of at least one row, got sizes {sorted(sizes)}"
        )


def _fingerprint(settings: list, *trees: Any) -> str:
    """A hash of the settings, of the shapes and of every value that a run starts from."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for leaf in jax.tree.leaves(trees):
        leaf = np.asarray(leaf)
        digest.update(f"{leaf.shape}{leaf.dtype}".encode() + np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


_MAGIC = b"lrcore checkpoint 2\n"


def _save(path, state: _State, mark: str) -> None:
    write_whole(
        path, lambda file: (file.write(_MAGIC + mark.encode()), eqx.tree_serialise_leaves(file, state))
    )


def _load(path, state: _State, mark: str) -> _State:
    if not Path(path).exists():
        return state
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(
                f"checkpoint: expected a checkpoint of lrcore, got another file at {path}: name another"
            )
        if file.read(64).decode(errors="replace") != mark:
            raise ValueError(
                f"checkpoint: {path} belongs to another model, other data, another key or other settings: "
                "name another file, or remove it to start anew"
            )
        try:
            return eqx.tree_deserialise_leaves(file, state)
        except Exception as error:
            raise ValueError(
                f"checkpoint: {path} is damaged or truncated: remove it to start anew"
            ) from error
