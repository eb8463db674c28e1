"""Which axis is which: swapped axes are found by what came along with a recording, or by its own numbers."""

import itertools

import numpy as np
from jaxtyping import Float

AXES = ("trial", "time", "neuron")


def in_order(name, signal, lengths, inputs, choices, neurons) -> None:
    """Compare the axes with what came along, and say how they were swapped if they were."""
    trials, evidence = [], []
    for what, value in (("lengths", lengths), ("choices", choices), ("inputs", inputs)):
        if value is not None and np.ndim(value):
            trials.append(np.shape(value)[0])
            evidence.append(f"{what} of shape {np.shape(value)}")
    n_time = np.shape(inputs)[1] if inputs is not None and np.ndim(inputs) == 3 else None
    n_neurons = None if neurons is None else len(neurons)
    if n_neurons is not None:
        evidence.append(f"{n_neurons} names of neurons")
    # Unpadded arrays are as long as the longest trial: this says which axis is the time.
    longest = None if lengths is None or np.size(lengths) == 0 else np.max(np.asarray(lengths))

    def agrees(shape, strictly):
        agreed = all(shape[0] == n for n in trials) and n_time in (None, shape[1])
        if longest is not None and n_time is None:
            agreed &= bool(shape[1] == longest if strictly else shape[1] >= longest)
        return agreed and n_neurons in (None, shape[2])

    if agrees(signal.shape, strictly=False):
        swapped = signal.shape[2] == longest != signal.shape[1] and n_time is None and n_neurons is None
        orders = [(0, 2, 1)] if swapped else []
    else:
        orders = [
            order
            for order in itertools.permutations(range(3))
            if agrees([signal.shape[i] for i in order], strictly=True)
        ]
        # Lengths that exceed the time bins are an error of their own, unless an axis fits them exactly.
        swapped = bool(orders)
    if not swapped:
        return
    # Choices alone leave open which of the other two axes is the neurons'.
    order = max(orders, key=lambda order: _spread(signal)[order[2]])
    message = (
        f"{name}: expected {name} of shape (trial, time, neuron), got {signal.shape}: by the "
        f"{', '.join(evidence)} this seems to be ({', '.join(AXES[order.index(i)] for i in range(3))}): move the "
        f"{'neuron' if order[2] != 2 else 'trial'} axis {'last' if order[2] != 2 else 'first'}, "
        f"np.transpose({name}, {order})"
    )
    if agrees(signal.shape, strictly=False):
        message += f"; if the axes are right, cut the padding: {name}[:, :{longest}]"
    raise ValueError(message)


def neurons_last(spikes) -> None:
    """With nothing to compare with, look at the counts: in rat sessions the spread is 0.3 to 0.9 along the
    neurons, below 0.02 along trials and times."""
    spread = _spread(spikes)
    other = int(spread[:2].argmax())
    if spread[other] > 0.1 and spread[other] > 10 * spread[2]:
        raise ValueError(
            f"spikes: expected spikes of shape (trial, time, neuron), got {spikes.shape}, where mean counts differ "
            f"far more along axis {other} (relative variance {spread[other]:.2g}) than along the last "
            f"({max(spread[2], 0):.2g}): move the neuron axis last, np.moveaxis(spikes, {other}, -1); if the axes "
            "are right, give `lengths`"
        )


def _spread(signal) -> Float[np.ndarray, "3"]:
    """How far means differ along each axis: variance of the mean signal in units of the squared mean, less
    what counts of a Poisson process would have. Neurons differ far more than trials or times do."""
    with np.errstate(all="ignore"):
        mean = signal.mean()
        spread = np.empty(3)
        for axis in range(3):
            along = signal.mean(axis=tuple(i for i in range(3) if i != axis), dtype=np.float64)
            spread[axis] = along.var() / mean**2 - signal.shape[axis] / signal.size / mean
        return np.nan_to_num(spread)
