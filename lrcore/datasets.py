"""Sessions to learn on: a synthetic one with known truth, and published ones, checked by their hash."""

import argparse
import errno
import hashlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from . import checks
from .network import Embedding, LowRankNetwork
from .readers import BIN_WIDTH
from .recording import Recording

FOLDER_VARIABLE = "LRCORE_DATA"
REGISTRY = Path(__file__).with_name("registry.txt")
ADDRESS = (
    "https://raw.githubusercontent.com/Brody-Lab/decision_dynamics_commitment/"
    "a503f500b5a218c251a28b1c8014a6ca163590c8/data/processed_data/recordings/"
)
# Seconds to connect, and between two pieces of an answer.
TIMEOUT = (10, 30)
# A download that breaks off is taken up again this often in a call.
ATTEMPTS = 3
TAU = 0.1
CLICK_RATE = 40.0
LOG_RATIOS = (-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5)
N_TIME = 100
N_NETWORK = 80
# Standard deviation of the latent noise in one bin.
NOISE = 0.06
START = np.array([0.0, -0.3])


class Session(NamedTuple):
    """A synthetic session and the truth behind it.

    - `recording`: spikes, clicks and choices, as of an experiment.
    - `latents`: (trial, time, 2), the latent state in each bin; 0 beyond the trial's end.
    - `network`: the network that made them; the recorded neurons are its first ones, all by default.
    - `scale`: (neuron,), in Hz: neuron i spikes at the rate `scale[i] * softplus(m_i . z + d_i)`.
    """

    recording: Recording
    latents: Float[Array, "trial time 2"]
    network: LowRankNetwork
    scale: Float[Array, " neuron"]


def clicks_session(key, n_trials=400, n_neurons=80) -> Session:
    r"""A synthetic session of the Poisson-Clicks task: a rat hears clicks left and right and goes where there were more.

    A network of rank 2 decides. In bins of $\Delta t$ = 10 ms, with $\tau$ = 0.1 s and $\alpha=\Delta t/\tau=0.1$,

    $$z_{t+1} = (1-\alpha)\,z_t + \alpha F_N(z_t,u_t) + 0.06\,\varepsilon_t,\qquad
      F_N(z,u)=\tfrac1N\sum_i n_i\tanh(m_i\cdot z+b_i\cdot u+d_i),$$
    $$y_{it}\sim\mathrm{Poisson}\big(\Delta t\; s_i\,\mathrm{softplus}(m_i\cdot z_t+d_i)\big).$$

    The neurons that are recorded are the network's own: spikes and recurrent dynamics read the latents through
    the same m and d. $F_N$ has a stable point for each choice, at about $z_1=\pm1$, and a saddle between, where
    trials start; clicks push along $z_1$ and, less, $z_2$. m (heavy-tailed), b and d are drawn, n is the
    smallest one that makes these dynamics (a ridge regression on a grid of states and clicks).

    As in the published sessions: a stereo click opens the trial in bin 0; then left and right clicks, 40 a second
    together, with a log ratio of rates (`info["gamma"]`) of 0.5 to 3.5 to either side, for 0.2 to 1 s; the animal
    leaves about 0.16 s later, at most 1 s is recorded; the choice is the sign of $z_1$ at the end, 1 for right.
    Neurons spike at 2 to 30 Hz, median about 8.

    **Arguments**

    - `key`: a jax random key; the same key gives the same session.
    - `n_trials`: 10 or more, so that every neuron spikes. `n_neurons`: recorded neurons, 2 or more. The network consists of these, or of 80
      if these are fewer, as it takes that many to make the two attractors at any key.

    **Returns** a `Session`: the recording, the latents, the network, the scale of the rates.

    **Raises** `ValueError` for too few trials or neurons.

    Source: task and data, Luo, Kim et al. (2025), Nature; the model is ours.

    >>> session = clicks_session(jr.key(0), n_trials=50, n_neurons=40)
    >>> session.recording.spikes.shape, session.network.rank
    ((50, 100, 40), 2)
    """
    n_trials = checks.count("n_trials", n_trials, least=10)
    n_neurons = checks.count("n_neurons", n_neurons, least=2)
    seed_key, noise_key = jr.split(key)
    # Draws are numpy's: its Poisson counts are many times quicker than jax's on a CPU.
    rng = np.random.default_rng(np.asarray(jr.bits(seed_key, (4,))))
    network = _deciding_network(rng, max(n_neurons, N_NETWORK))
    lengths, gamma, clicks = _trials(rng, n_trials)

    start = START + 0.1 * rng.standard_normal((n_trials, 2))
    noise = NOISE / np.sqrt(BIN_WIDTH)
    latents = network.simulate(start, clicks, BIN_WIDTH, noise=noise, key=noise_key)[:, :-1]
    mask = Recording.mask_of(lengths, N_TIME)
    latents = jnp.where(mask[:, :, None], latents, 0.0)
    choices = np.asarray(latents[np.arange(n_trials), lengths - 1, 0] > 0).astype(int)

    resting = np.clip(7.0 * np.exp(0.7 * rng.standard_normal(n_neurons)), 2.0, 30.0)
    recorded = Embedding(network.m[:n_neurons], d=network.d[:n_neurons])
    scale = jnp.asarray(resting / jax.nn.softplus(recorded.d), jnp.float32)
    rates = scale[None, None] * jax.nn.softplus(recorded.potential(latents))
    spikes = rng.poisson(BIN_WIDTH * np.asarray(rates))
    recording = Recording(
        spikes=spikes,
        bin_width=BIN_WIDTH,
        lengths=lengths,
        inputs=clicks,
        choices=choices,
        info={"gamma": gamma},
    )
    return Session(recording, latents, network, scale)


def _deciding_network(rng, n_neurons: int) -> LowRankNetwork:
    """Two choice attractors and a saddle between: n by ridge regression of the wanted drift on the neurons' rates."""
    m = rng.laplace(size=(n_neurons, 2)) * [0.3, 0.25]
    b = 0.5 * rng.standard_normal((n_neurons, 2))
    d = 0.7 * rng.standard_normal(n_neurons)
    grid = np.meshgrid(np.linspace(-1.6, 1.6, 13), np.linspace(-1.2, 1.2, 9), indexing="ij")
    states = np.stack([axis.ravel() for axis in grid], axis=1)
    clicks = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 0], [0, 2]])
    z, u = np.repeat(states, len(clicks), axis=0), np.tile(clicks, (len(states), 1))
    x = np.tanh(z @ m.T + u @ b.T + d) / n_neurons
    gram = x.T @ x
    ridge = 3e-4 * np.trace(gram) / n_neurons
    n = np.linalg.solve(gram + ridge * np.eye(n_neurons), x.T @ _wanted_drift(z, u))
    m, n, b, d = (np.asarray(part, np.float32) for part in (m, n, b, d))
    return LowRankNetwork(m, n, b, d, activation="tanh", tau=TAU)


def _wanted_drift(z, u):
    """z + tau dz/dt: z_1 leaves the saddle at 0 for +-1, z_2 rises as z_1 does, clicks push."""
    push = u[:, 1] - u[:, 0]
    first = 0.5 * z[:, 0] * (1 - z[:, 0] ** 2) + 0.7 * push
    second = 0.6 * (0.8 * z[:, 0] ** 2 - 0.3 - z[:, 1]) + 0.3 * push
    return z + np.stack([first, second], axis=1)


def _trials(rng, n_trials: int):
    """Lengths (trial,) in bins, log ratios of click rates (trial,) and click counts (trial, time, 2)."""
    gamma = rng.choice(LOG_RATIOS, n_trials)
    stimulus = rng.uniform(0.2, 1.0, n_trials)
    response = 0.04 + 0.12 * rng.gamma(3.0, size=n_trials) / 3
    lengths = np.minimum(np.ceil((stimulus + response) / BIN_WIDTH).astype(int), N_TIME)
    right = CLICK_RATE / (1 + np.exp(-gamma))
    rates = np.stack([CLICK_RATE - right, right], axis=1)
    heard = np.arange(N_TIME) < np.round(stimulus / BIN_WIDTH)[:, None]
    clicks = rng.poisson(BIN_WIDTH * rates[:, None] * heard[:, :, None], (n_trials, N_TIME, 2))
    clicks[:, 0] += 1
    clicks[~Recording.mask_of(lengths, N_TIME)] = 0
    return lengths, gamma, clicks.astype(np.float32)


class RatSession(NamedTuple):
    """A recording for a page, and where it is from.

    - `recording`: spikes, clicks and choices.
    - `real`: whether an animal made them; False for the synthetic twin.
    - `source`: the same in words, for the page to say.
    """

    recording: Recording
    real: bool
    source: str


def rat_session(name, folder=None, *, twin=None, drop_constant=False) -> Recording:
    """A published session of a rat in the Poisson-Clicks task: from a folder of one's own, from the cache, or downloaded.

    Looked for in this order: `<folder>/rat/<name>.mat`, the cache of the operating system, the repository of the
    paper. A download shows its progress, goes on where an earlier one broke off, and stands under its name only when
    whole and of the registered SHA-256. It is kept in the folder where one is given and may be written to, else in the
    cache. Files of registered sessions are checked wherever they lie; a file of one's own that is not registered is
    read without a check.

    **Arguments**

    - `name`: such as `"T176_2018_05_03"`; `registry()` has the names that can be downloaded.
    - `folder`: default is the environment variable `LRCORE_DATA`.
    - `twin`: a jax random key: where the session is not at hand and cannot be fetched, return the recording of
      `clicks_session(twin)` instead, with a `UserWarning` that it is synthetic. Other failures are raised all the same.
    - `drop_constant`: as for the recording.

    **Raises** `FileNotFoundError` for a name that is in no folder and not registered; `ConnectionError` without
    network; `ImportError` without pooch, where a download is needed; `ValueError` for a file whose SHA-256 is another,
    and as `Recording.from_mat`; `OSError` when the disk is full.

    Source: data of Luo, Kim et al. (2025), Nature: `data/processed_data/recordings` of
    github.com/Brody-Lab/decision_dynamics_commitment (Apache-2.0).

    >>> rat_session("T000_2000_01_01", folder="/nowhere")
    Traceback (most recent call last):
    FileNotFoundError: T000_2000_01_01: expected a session that is published, T176_2018_05_03, ...
    """
    try:
        path = _session_file(f"{Path(name).name.removesuffix('.mat')}.mat", folder)
    except (ConnectionError, ImportError) as error:
        if twin is None:
            raise
        warnings.warn(f"a SYNTHETIC session stands in for {name}: {error}", UserWarning, stacklevel=2)
        return clicks_session(twin).recording
    return Recording.from_mat(path, drop_constant=drop_constant)


def rat_or_twin(name=None, *, key) -> RatSession:
    """The session that a page shows: a recorded one where there is a folder of them, else the synthetic twin.

    Without a name nothing is downloaded, so that a page is the same with and without network.

    **Arguments**

    - `name`: as for `rat_session`, which then raises what it raises; default is `find_rat_session()`.
    - `key`: a jax random key for the twin, `clicks_session(key)`.

    >>> session = rat_or_twin(key=jr.key(0))
    >>> session.real == (find_rat_session() is not None)
    True
    """
    name = name or find_rat_session()
    if name is None:
        words = "a synthetic session of the same structure, as no folder of recordings is set"
        return RatSession(clicks_session(key).recording, False, words)
    return RatSession(rat_session(name), True, f"the recorded session {name} (Luo, Kim et al. 2025)")


def find_rat_session(folder=None) -> str | None:
    """The name of the first session in the folder (default: `LRCORE_DATA`), or None where there is none.

    >>> find_rat_session("/nowhere") is None
    True
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    found = sorted(Path(given, "rat").glob("*.mat")) if given else []
    return found[0].stem if found else None


# --- files of published sessions


def registry() -> dict[str, str]:
    """SHA-256 of the published sessions by file name, from `registry.txt`; `python -m lrcore.datasets add` extends it.

    >>> sorted(registry())[0]
    'T176_2018_05_03.mat'
    """
    return dict(line.split() for line in REGISTRY.read_text().splitlines())


def _session_file(file, folder) -> Path:
    """Where the session's file is, after a download if need be."""
    given = folder or os.environ.get(FOLDER_VARIABLE)
    known = registry().get(file)
    own = given and Path(given, "rat", file)
    if own and own.exists():
        return own if known is None else _checked(own, known)
    if known is None:
        names = ", ".join(name.removesuffix(".mat") for name in registry())
        raise FileNotFoundError(
            f"{file.removesuffix('.mat')}: expected a session that is published, {names}, or one in a folder of your "
            f"own{f', got no {own}' if own else ''}: put its file into rat/ of the folder that {FOLDER_VARIABLE} "
            "names; to check and share others, python -m lrcore.datasets add FILE"
        )
    try:
        import pooch
    except ImportError as error:
        raise ImportError(f"{file}: to download it, pip install pooch; {_or_folder(file)}") from error

    cached = Path(pooch.os_cache("lrcore"), "rat", file)
    if cached.exists():
        return _checked(cached, known)
    target = own if own and os.access(given, os.W_OK) else cached
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(ADDRESS + file, target, known)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"{target}: expected room for a session, got a full disk: free some and call again, it goes on from "
            f"{target.name}.part; or name a folder elsewhere in {FOLDER_VARIABLE}",
        ) from error
    return target


def _download(address, target, known) -> None:
    """Fetch into `<target>.part`, on from where that ends, and give it its name once the hash is right."""
    import pooch
    import requests

    partial = target.with_name(f"{target.name}.part")
    for attempt in range(ATTEMPTS):
        try:
            with open(partial, "ab") as stream:

                def whole_file(response, part=stream, **_):
                    # A server that knows no ranges sends the file from its start.
                    if response.status_code == 200:
                        part.truncate(0)

                pooch.HTTPDownloader(
                    progressbar=True,
                    timeout=TIMEOUT,
                    headers={"Range": f"bytes={stream.tell()}-", "Accept-Encoding": "identity"},
                    hooks={"response": whole_file},
                )(address, stream, None)
            break
        except requests.RequestException as error:
            answer = getattr(error, "response", None)
            if answer is not None and answer.status_code == 416:
                # Nothing is left to send: the part is whole, or is of another file, which its hash tells.
                break
            broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
            if not broken or attempt == ATTEMPTS - 1:
                raise ConnectionError(
                    f"{address}: expected to download it, got {type(error).__name__}: {_or_folder(target.name)}; or "
                    "use clicks_session, or twin=key, for a synthetic one"
                ) from None
    try:
        _checked(partial, known)
    except ValueError:
        partial.unlink()
        raise
    os.replace(partial, target)


def _or_folder(file) -> str:
    return (
        f"connect to the network and call again, or put {file} into rat/ of a folder and name that in the "
        f"environment variable {FOLDER_VARIABLE} or as folder=..."
    )


def _sha256(path) -> str:
    with open(path, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _checked(path, known) -> Path:
    found = _sha256(path)
    if found != known:
        raise ValueError(
            f"{path}: expected the published file, {known}, got {found}: it was changed, or is another session; remove "
            "it to fetch it again"
        )
    return path


def _add(files) -> None:
    """Register session files by their SHA-256, and print what was added."""
    held = registry()
    for path in map(Path, files):
        found = _sha256(path)
        if held.get(path.name, found) != found:
            raise ValueError(
                f"{path}: expected the registered file, {held[path.name]}, got {found}: take its line out of "
                f"{REGISTRY} first"
            )
        print(path.name, found, "is registered already" if path.name in held else "added")
        held[path.name] = found
    REGISTRY.write_text("".join(f"{name} {held[name]}\n" for name in sorted(held)))


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lrcore.datasets", description="The registry of sessions."
    )
    parser.add_argument("command", choices=["add"], help="register session files by their SHA-256")
    parser.add_argument("files", nargs="+", metavar="FILE", help="<name>.mat")
    _add(parser.parse_args().files)


if __name__ == "__main__":
    _main()
