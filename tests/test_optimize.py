"""The training loop: it gets there, can be stopped at any time, and goes on as if it never had been."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import optax
import pytest

import lrcore as lr
from lrcore import checks, optimize


class Line(eqx.Module):
    slope: jax.Array
    offset: jax.Array
    name: str = eqx.field(static=True, default="line")


def loss(model, batch, key):
    x, y = batch
    return jnp.mean((model.slope * x + model.offset - y) ** 2)


def noisy_loss(model, batch, key):
    return loss(model, batch, key) + 0.1 * jr.normal(key) * model.slope


def data(n=64, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n).astype(np.float32)
    return x, (3 * x - 1 + noise * rng.normal(size=n)).astype(np.float32)


def start(offset=0.0) -> Line:
    return Line(jnp.zeros(()), jnp.full((), offset, jnp.float32))


def fit(model=None, on=None, function=loss, **options):
    usual = {"key": jr.key(0), "updates": 300, "batch_size": 32, "learning_rate": 0.05, "chunk": 50}
    return optimize.fit(model or start(), function, on or data(), progress=False, **(usual | options))


def leaves(tree) -> list:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(one: optimize.Fit, other: optimize.Fit) -> None:
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.best_update, one.stopped) == (other.best_update, other.stopped)


def test_training_reaches_the_least_squares_line():
    x, y = data()
    done = fit(batch_size=64, updates=600, validation=data(seed=1))
    slope, offset = np.polyfit(x, y, 1)
    assert float(done.model.slope) == pytest.approx(slope, abs=0.03)
    assert float(done.model.offset) == pytest.approx(offset, abs=0.03)
    assert done.model.name == "line" and done.stopped == "finished"
    assert done.losses.shape == (600,) and done.validation.shape == (12,)
    assert done.losses[-50:].mean() < 0.1 * done.losses[:50].mean()


def test_best_on_validation_is_returned():
    """Trained on one line and validated on another, the way leads past the best model."""
    x, y = data(noise=0.0)
    done = fit(validation=(x, 0.5 * y), average=False)
    assert done.best_update == 50 * (1 + int(done.validation.argmin())) < 300
    assert float(loss(done.model, (x, 0.5 * y), None)) == pytest.approx(done.validation.min(), rel=1e-4)
    last = fit(average=False)
    assert float(loss(last.model, (x, 0.5 * y), None)) > 2 * done.validation.min()
    assert last.best_update == 300 and last.validation.shape == (0,)


def test_margin_prefers_the_later_of_two_that_are_nearly_as_good():
    x, y = data(noise=0.0)
    options = {"validation": (x, 0.5 * y), "average": False}
    losses = fit(**options).validation
    best = int(losses.argmin())
    margin = float(1 - losses[best] / losses[best + 1])
    assert fit(**options, margin=0.9 * margin).best_update == 50 * (best + 1)
    assert fit(**options, margin=1.1 * margin).best_update > 50 * (best + 1)


def test_early_stopping():
    x, y = data(noise=0.0)
    done = fit(validation=(x, 0.5 * y), average=False, patience=1, updates=1000)
    assert done.stopped == "no progress"
    assert len(done.losses) == done.best_update + 100 < 1000
    assert not np.isnan(done.validation).any() and not np.isnan(done.losses).any()


def test_average_takes_out_the_noise_of_the_batches():
    x, y = data(1000, noise=1.0)
    best = np.polyfit(x, y, 1)
    constant = {"optimizer": optax.adam(0.05), "batch_size": 4, "on": (x, y), "updates": 600}
    ends = {
        average: [fit(average=average, key=jr.key(i), **constant).model for i in range(5)]
        for average in (True, False)
    }
    off = {k: np.mean([np.hypot(m.slope - best[0], m.offset - best[1]) for m in v]) for k, v in ends.items()}
    assert off[True] < 0.6 * off[False]


def test_the_same_key_gives_the_same_fit_and_updates_are_whole_chunks():
    same(fit(function=noisy_loss), fit(function=noisy_loss))
    assert not np.array_equal(fit().losses, fit(key=jr.key(1)).losses)
    assert len(fit(updates=101, chunk=50).losses) == 102  # three chunks of 34


def test_the_bar_and_the_fit_say_what_is_kept(monkeypatch):
    """The best on the validation data, which need not be the last, nor by a margin the lowest."""
    said = []

    class Bar:
        def __init__(self, *args, **options):
            pass

        def update(self, n):
            pass

        def set_postfix(self, **values):
            said.append(values)

        def close(self):
            pass

    monkeypatch.setattr(optimize, "tqdm", Bar)
    x, y = data()
    options = {"updates": 200, "chunk": 5, "margin": 0.4}
    done = fit(validation=(x, np.float32(0.5) * y), **options)  # halfway there it is best
    assert done.best_update < 200 and done.validation.argmin() + 1 != done.best_update // 5
    kept = f"{done.validation[done.best_update // 5 - 1]:.4g}"
    assert said[-1]["kept"] == f"{kept} of update {done.best_update}"
    assert f"validation loss {kept}; the model is that of update {done.best_update}" in repr(done)
    assert said[0]["kept"].endswith("of update 5")
    fit(updates=50)
    assert "kept" not in said[-1]  # without validation data the last one is kept


def interrupt_after(monkeypatch, chunks: int):
    """As if Ctrl-C were pressed after so many chunks, while the bar is drawn."""

    class Bar:
        def __init__(self, *args, **options):
            self.left = chunks

        def update(self, n):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        def set_postfix(self, **values):
            pass

        def close(self):
            pass

    monkeypatch.setattr(optimize, "tqdm", Bar)


@pytest.mark.parametrize("average", [True, False], ids=["average", "last"])
def test_resumed_run_is_bit_identical(tmp_path, monkeypatch, average):
    options = {"function": noisy_loss, "validation": data(seed=1), "average": average}
    whole = fit(**options)
    file = tmp_path / "run.ckpt"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        part = fit(**options, checkpoint=file)
    assert part.stopped == "interrupted" and len(part.losses) == 100
    np.testing.assert_array_equal(part.losses, whole.losses[:100])
    same(fit(**options, checkpoint=file), whole)
    # A finished run is only read.
    before = file.stat().st_mtime_ns
    same(fit(**options, checkpoint=file), whole)
    assert file.stat().st_mtime_ns == before and list(tmp_path.iterdir()) == [file]


def test_interruption_keeps_the_best_so_far(monkeypatch):
    x, y = data(noise=0.0)
    options = {"validation": (x, 0.5 * y), "average": False}
    whole = fit(**options)
    interrupt_after(monkeypatch, 5)
    part = fit(**options)
    assert part.stopped == "interrupted" and part.best_update == whole.best_update <= 250
    np.testing.assert_array_equal(part.model.slope, whole.model.slope)


def test_early_stopping_is_resumed_alike(tmp_path):
    x, y = data(noise=0.0)
    options = {"validation": (x, 0.5 * y), "average": False, "patience": 1, "updates": 1000}
    whole = fit(**options, checkpoint=tmp_path / "run")
    same(fit(**options, checkpoint=tmp_path / "run"), whole)


def test_divergence_keeps_the_best_and_reports():
    """A learning rate that is fine at first and absurd later."""
    rate = optax.piecewise_constant_schedule(0.05, {120: 1e12})
    done = fit(optimizer=optax.sgd(rate), validation=data(seed=1), average=False)
    assert done.stopped == "diverged" and len(done.losses) in (100, 150)
    assert np.isfinite(leaves(done.model)).all() and np.isfinite(done.losses).all()
    with pytest.raises(FloatingPointError, match="training: the loss is not finite.*lower learning_rate"):
        fit(optimizer=optax.sgd(1e12), updates=1000, chunk=200)


OTHER = {
    "model": {"model": start(1.0)},
    "data": {"on": data(seed=3)},
    "validation": {"validation": data(seed=4)},
    "key": {"key": jr.key(5)},
    "batch size": {"batch_size": 16},
    "updates": {"updates": 400},
    "learning rate": {"learning_rate": 0.01},
    "optimizer": {"optimizer": optax.sgd(0.01)},
    "average": {"average": False},
    "loss": {"function": noisy_loss},
}


@pytest.mark.parametrize("what", OTHER)
def test_checkpoint_of_another_run_is_refused(tmp_path, what):
    file = tmp_path / "run"
    fit(checkpoint=file, updates=100)
    before = file.read_bytes()
    with pytest.raises(
        ValueError, match="^checkpoint: .*another model, other data, another key or other settings"
    ):
        fit(**{"updates": 100} | OTHER[what], checkpoint=file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cut", [5, 40, 200, -1], ids=["magic", "mark", "values", "last byte"])
def test_truncated_checkpoint_is_refused(tmp_path, cut):
    file = tmp_path / "run"
    fit(checkpoint=file, updates=100)
    whole = file.read_bytes()
    file.write_bytes(whole[:cut])
    with pytest.raises(ValueError, match="^checkpoint: "):
        fit(checkpoint=file, updates=100)
    assert file.read_bytes() == whole[:cut]


def test_another_kind_of_file_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "thesis.txt"
    file.write_text("A life's work.")
    with pytest.raises(ValueError, match="expected a checkpoint of lrcore, got another file.*name another"):
        fit(checkpoint=file)
    assert file.read_text() == "A life's work."


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"on": (np.zeros(3), np.zeros(4))}, ValueError, r"^data: expected arrays that share.*\[3, 4\]"),
        ({"on": (np.zeros(0), np.zeros(0))}, ValueError, r"^data: expected.*\[0\]"),
        ({"validation": (np.zeros(3), np.zeros(4))}, ValueError, "^validation: expected arrays that share"),
        ({"batch_size": 0}, ValueError, "^batch_size: expected at least 1"),
        ({"learning_rate": 0.0}, ValueError, "^learning_rate: expected a positive finite number"),
    ],
    ids=["other lengths", "empty", "validation of other lengths", "no batch", "no rate"],
)
def test_bad_input_is_refused(options, error, words, tmp_path):
    with pytest.raises(error, match=words):
        fit(**options, checkpoint=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_make_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    options = {"average": True, "margin": 0.5, "patience": 3, "learning_rate": 0.25, "updates": 100}
    whole = fit(**options, validation=data(seed=1), checkpoint=tmp_path / "run")
    given = {name: np.asarray(value)[()] for name, value in options.items()}
    same(fit(**given, validation=data(seed=1), checkpoint=tmp_path / "run"), whole)
    same(fit(**{k: np.array(v) for k, v in options.items()}, validation=data(seed=1)), whole)


def test_training_under_debug_nans():
    """Nothing that is not known yet is NaN in what goes through compiled code."""
    with jax.debug_nans(True):
        done = fit(validation=data(seed=1), updates=100)
    assert done.stopped == "finished" and len(done.losses) == 100 and done.validation.all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_double_precision_trains_and_resumes(tmp_path, monkeypatch, kind):
    with checks.x64():
        model = Line(jnp.zeros((), kind), jnp.zeros((), kind))
        options = {"model": model, "validation": data(seed=1), "updates": 150}
        whole = fit(**options)
        with monkeypatch.context() as patch:
            interrupt_after(patch, 2)
            fit(**options, checkpoint=tmp_path / "run")
        same(fit(**options, checkpoint=tmp_path / "run"), whole)
    assert whole.model.slope.dtype == kind and whole.losses.dtype == np.float64


def test_a_chunk_of_updates_runs_without_the_host(monkeypatch):
    """On a GPU a call back to the host in every update would take longer than the update."""
    calls, run = [], optimize._run
    monkeypatch.setattr(optimize, "_run", lambda *given: calls.append(given) or run(*given))
    samples = jr.normal(jr.key(0), (200, 2))
    lr.Flow.fit(samples, key=jr.key(1), updates=20, batch_size=32, chunk=20, progress=False)
    text = run.lower(*calls[0]).as_text()
    assert "stablehlo.while" in text
    assert not re.search("callback|infeed|outfeed|stablehlo.send|stablehlo.recv", text)
