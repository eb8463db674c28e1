"""The synthetic session: its truth, its statistics, and how near it comes to published ones."""

import errno
import hashlib
import http.server
import os
import re
import shutil
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pooch
import pytest
import scipy.io
from scipy.optimize import root
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from lrcore import datasets
from lrcore.recording import Recording

needs_data = pytest.mark.skipif(
    datasets.find_rat_session() is None, reason="LRCORE_DATA names no folder with rat/*.mat"
)


@pytest.fixture(scope="module")
def session():
    return datasets.clicks_session(jr.key(0))


def statistics(recording):
    """What a session is like, in numbers."""
    lengths, choices, inputs = recording.lengths, recording.choices, recording.inputs
    difference = (inputs[:, :, 1] - inputs[:, :, 0]).sum(axis=1)
    rates = recording.mean_rates
    counts = np.where(recording.mask[:, :, None], recording.spikes, np.nan)
    with warnings.catch_warnings():
        # No trial of one choice may be long enough for the last bins.
        warnings.simplefilter("ignore", RuntimeWarning)
        psth = [100 * np.nanmean(counts[choices == c], axis=0) for c in (0, 1)]
    late = [p[40:80].mean(axis=0) for p in psth]
    separation = np.abs(late[1] - late[0]) / (0.5 * (late[0] + late[1]))
    last = np.stack(
        [x[max(0, n - 20) : n].sum(axis=0) for x, n in zip(recording.spikes, lengths, strict=True)]
    )
    first = recording.spikes[:, :15].sum(axis=1)
    model = LogisticRegression(C=0.02, max_iter=1000)
    auc = [cross_val_score(model, np.sqrt(x), choices, cv=5, scoring="roc_auc").mean() for x in (first, last)]
    return {
        "median length": np.median(lengths),
        "longest": lengths.max(),
        "share of full trials": (lengths == 100).mean(),
        "median rate": np.median(rates),
        "lowest rate": rates.min(),
        "highest rate": rates.max(),
        "right after left clicks": choices[difference < -10].mean(),
        "right after right clicks": choices[difference > 10].mean(),
        "right at balance": choices[np.abs(difference) <= 3].mean(),
        "median separation of PSTHs": np.median(separation),
        "early choice AUC": auc[0],
        "late choice AUC": auc[1],
    }


BOUNDS = {
    "median length": (60, 85),
    "longest": (100, 100),
    "share of full trials": (0.08, 0.3),
    "median rate": (5, 10),
    "lowest rate": (1, 3.5),
    "highest rate": (20, 65),
    "right after left clicks": (0, 0.35),
    "right after right clicks": (0.65, 1),
    "right at balance": (0.2, 0.8),
    "median separation of PSTHs": (0.15, 0.6),
    "early choice AUC": (0.5, 0.85),
    "late choice AUC": (0.93, 1),
}


def check(found):
    outside = {k: v for k, v in found.items() if not BOUNDS[k][0] <= v <= BOUNDS[k][1]}
    assert not outside


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_synthetic_session_is_like_a_published_one(seed):
    check(statistics(datasets.clicks_session(jr.key(seed)).recording))


@needs_data
@pytest.mark.data
def test_published_sessions_have_the_same_statistics():
    for path in sorted(Path(os.environ["LRCORE_DATA"], "rat").glob("*.mat")):
        check(statistics(datasets.rat_session(path.stem)))


def test_the_psychometric_curve_rises(session):
    recording = session.recording
    gamma = recording.info["gamma"]
    right = [recording.choices[gamma == g].mean() for g in np.unique(gamma)]
    assert right[0] < 0.15 and right[-1] > 0.85
    # Within the error of about 50 trials a point.
    assert (np.diff(right) > -0.15).all()


def test_clicks_come_as_the_task_says(session):
    recording = session.recording
    clicks, gamma = recording.inputs, recording.info["gamma"]
    assert (clicks[:, 0] >= 1).all() and (clicks == np.round(clicks)).all()
    # Without the stereo click, left and right at exp(gamma), 40 a second while the stimulus lasts.
    left, right = (clicks.sum(axis=1) - 1).T
    for g in np.unique(gamma):
        chosen = gamma == g
        assert np.log((right[chosen].sum() + 1) / (left[chosen].sum() + 1)) == pytest.approx(g, abs=0.5)
    early = clicks[recording.lengths >= 30, 1:20].sum(axis=(1, 2)) / 0.19
    assert early.mean() == pytest.approx(40, abs=1.5)


def test_choices_and_latents_agree(session):
    recording, latents = session.recording, np.asarray(session.latents)
    assert latents.shape == (400, 100, 2) and not latents[~recording.mask].any()
    end = latents[np.arange(400), recording.lengths - 1]
    np.testing.assert_array_equal(recording.choices, end[:, 0] > 0)


def test_latents_follow_the_network(session):
    """z_{t+1} = 0.9 z_t + 0.1 F(z_t, u_t) + noise of standard deviation 0.06, uncorrelated with the state."""
    recording, z, network = session.recording, np.asarray(session.latents), session.network
    drift = np.asarray(network.drift(z, recording.inputs))
    kicks = (z[:, 1:] - 0.9 * z[:, :-1] - 0.1 * drift[:, :-1])[recording.mask[:, 1:]]
    assert kicks.std(axis=0) == pytest.approx(datasets.NOISE, rel=0.02)
    assert np.abs(kicks.mean(axis=0)).max() < 4 * datasets.NOISE / np.sqrt(len(kicks))
    assert np.abs(np.corrcoef(kicks.T, z[:, :-1][recording.mask[:, 1:]].T)[:2, 2:]).max() < 0.03


def test_spikes_are_poisson_with_the_stated_rates(session):
    network, mask = session.network, session.recording.mask
    rates = session.scale[None, None] * jax.nn.softplus(session.latents @ network.m.T + network.d[None, None])
    expected = 0.01 * np.asarray(rates)[mask]
    counts = session.recording.spikes[mask]
    error = (counts - expected).sum(axis=0) / np.sqrt(expected.sum(axis=0))
    assert np.abs(error).max() < 4.5 and error.std() == pytest.approx(1, abs=0.3)
    assert ((counts - expected) ** 2).sum() / expected.sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_the_network_has_two_choice_attractors_and_a_saddle(seed):
    network = datasets.clicks_session(jr.key(seed), n_trials=10).network
    m, n, d = (np.asarray(x, float) for x in (network.m, network.n, network.d))

    def velocity(z):
        return np.tanh(m @ z + d) @ n / len(d) - z

    found = []
    for x in np.linspace(-2, 2, 9):
        for y in np.linspace(-1.5, 1.5, 5):
            solution = root(velocity, [x, y])
            new = all(np.linalg.norm(solution.x - z) > 1e-3 for z in found)
            if np.abs(velocity(solution.x)).max() < 1e-8 and new:
                found.append(solution.x)
    found.sort(key=lambda z: z[0])
    assert len(found) == 3
    growing = [
        int(
            (
                np.linalg.eigvals(np.asarray(jax.jacobian(network.velocity)(jnp.asarray(z, jnp.float32)))) > 0
            ).sum()
        )
        for z in found
    ]
    assert growing == [0, 1, 0]
    assert [z[0] for z in found] == pytest.approx([-1, 0, 1], abs=0.35)


def test_the_same_key_gives_the_same_session():
    a, b, c = (datasets.clicks_session(jr.key(s), n_trials=12, n_neurons=30) for s in (3, 3, 4))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert (np.asarray(a.latents) != np.asarray(c.latents)).any()


@pytest.mark.parametrize("n_neurons", [5, 60, 100])
def test_recorded_neurons_are_the_first_of_the_network(n_neurons):
    session = datasets.clicks_session(jr.key(0), n_trials=60, n_neurons=n_neurons)
    assert session.recording.n_neurons == n_neurons == len(session.scale)
    assert session.network.n_neurons == max(n_neurons, 80)


@pytest.mark.parametrize("bad", [{"n_trials": 9}, {"n_neurons": 1}], ids=str)
def test_too_small_sessions_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}: expected at least"):
        datasets.clicks_session(jr.key(0), **bad)


NAME, FILE = "T000_2020_01_01", "T000_2020_01_01.mat"


def mat_file(path, n_trials=20, n_neurons=5):
    """A session file of synthetic numbers in the published format."""
    rng = np.random.default_rng(0)
    trials = np.empty(n_trials, dtype=object)
    for i in range(n_trials):
        trains = np.empty(n_neurons, dtype=object)
        trains[:] = list(rng.poisson(0.3, (n_neurons, 30 + i)).astype(np.uint8))
        trials[i] = {
            "choice": i % 2,
            "clicktimes": {"L": np.array([0.0, 0.1]), "R": 0.0},
            "gamma": -1.5,
            "ntimesteps": 30 + i,
            "spiketrains": trains,
            "stereoclick_time_s": 3.0 * i,
        }
    neurons = np.empty(n_neurons, dtype=object)
    neurons[:] = [{"brainarea": "mPFC", "neuronindex": j} for j in range(n_neurons)]
    scipy.io.savemat(path, {"trials": trials, "neurons": neurons})
    return path


class Server:
    """Serves one file on this machine; `breaks`: after how many bytes each of the next answers breaks off."""

    def __init__(self, content):
        self.content, self.breaks, self.ranges, self.knows_ranges = content, [], [], True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers["Range"]
                outer.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if outer.knows_ranges else 0
                if not self.path.endswith(FILE) or start >= len(outer.content):
                    self.send_error(416 if self.path.endswith(FILE) else 404)
                    return
                self.send_response(206 if outer.knows_ranges else 200)
                body = outer.content[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.breaks.pop(0)] if outer.breaks else body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder, a registry with one session, and an address where nobody answers."""
    source = mat_file(tmp_path / "source.mat")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    monkeypatch.setattr(datasets, "REGISTRY", tmp_path / "registry.txt")
    datasets.REGISTRY.write_text(f"{FILE} {known}\n")
    monkeypatch.setattr(datasets, "ADDRESS", f"http://127.0.0.1:{port}/")
    monkeypatch.delenv(datasets.FOLDER_VARIABLE, raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "lrcore" / "rat"


@pytest.fixture
def server(cache, monkeypatch):
    found = Server((cache.parents[2] / "source.mat").read_bytes())
    monkeypatch.setattr(datasets, "ADDRESS", found.address)
    yield found
    found.server.shutdown()
    found.server.server_close()


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_session_is_downloaded_once(cache, server, capsys):
    recording = datasets.rat_session(NAME)
    same(recording, Recording.from_mat(cache.parents[2] / "source.mat"))
    same(recording, datasets.rat_session(FILE))
    assert server.ranges == ["bytes=0-"] and [p.name for p in cache.iterdir()] == [FILE]
    assert "100%" in capsys.readouterr().err


def test_a_folder_comes_first_and_takes_the_download(cache, server, tmp_path, monkeypatch):
    monkeypatch.setenv(datasets.FOLDER_VARIABLE, str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    datasets.rat_session(NAME)
    assert (tmp_path / "mine" / "rat" / FILE).exists() and not cache.exists()
    assert datasets.find_rat_session() == NAME
    datasets.rat_session(NAME)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("ranges", [True, False], ids=["resumes", "server knows no ranges"])
def test_a_download_that_breaks_off_goes_on(cache, server, ranges):
    server.knows_ranges, server.breaks = ranges, [2048, 1024]
    datasets.rat_session(NAME)
    assert server.ranges == ["bytes=0-", "bytes=2048-", f"bytes={3072 if ranges else 1024}-"]
    assert (cache / FILE).read_bytes() == server.content and [p.name for p in cache.iterdir()] == [FILE]


def test_a_download_goes_on_in_a_later_call(cache, server):
    server.breaks = [1024] * datasets.ATTEMPTS
    with pytest.raises(ConnectionError, match=rf"{FILE}: expected to download it, got ChunkedEncodingError"):
        datasets.rat_session(NAME)
    assert [p.name for p in cache.iterdir()] == [f"{FILE}.part"]
    datasets.rat_session(NAME)
    assert server.ranges[-1] == f"bytes={1024 * datasets.ATTEMPTS}-"
    # All was there but for the name.
    (cache / FILE).rename(cache / f"{FILE}.part")
    datasets.rat_session(NAME)
    assert (cache / FILE).read_bytes() == server.content


def test_a_changed_file_is_refused_with_both_hashes(cache, server, tmp_path):
    known = datasets.registry()[FILE]
    right, server.content = server.content, server.content[:-1] + b"x"
    found = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    message = f"expected the published file, {known}, got {found}: .*remove it"
    with pytest.raises(ValueError, match=message):
        datasets.rat_session(NAME)
    assert not list(cache.iterdir())
    server.content = right
    datasets.rat_session(NAME)
    (cache / FILE).write_bytes(right[:-1] + b"x")
    with pytest.raises(ValueError, match=message):
        datasets.rat_session(NAME)
    (tmp_path / "mine" / "rat").mkdir(parents=True)
    (tmp_path / "mine" / "rat" / FILE).write_bytes(right[:-1] + b"x")
    with pytest.raises(ValueError, match=rf"mine/rat/{FILE}: {message}"):
        datasets.rat_session(NAME, tmp_path / "mine")


def test_a_full_disk_leaves_nothing_under_the_name(cache, server, monkeypatch):
    class Full:
        def __init__(self, **_):
            pass

        def __call__(self, url, stream, _):
            stream.write(server.content[:500])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pooch, "HTTPDownloader", Full)
        with pytest.raises(OSError, match=f"{FILE}: expected room for a session, got a full disk") as raised:
            datasets.rat_session(NAME, twin=jr.key(0))
    assert raised.value.errno == errno.ENOSPC
    assert [p.name for p in cache.iterdir()] == [f"{FILE}.part"]
    datasets.rat_session(NAME)
    assert server.ranges == ["bytes=500-"]


def test_without_network_both_ways_are_named(cache):
    begin = time.perf_counter()
    with pytest.raises(ConnectionError, match=rf"network and call again, or put {FILE} into .*LRCORE_DATA"):
        datasets.rat_session(NAME)
    assert time.perf_counter() - begin < 12
    with pytest.warns(UserWarning, match=f"a SYNTHETIC session stands in for {NAME}"):
        same(datasets.rat_session(NAME, twin=jr.key(3)), datasets.clicks_session(jr.key(3)).recording)


def test_without_pooch_a_folder_does(cache, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=f"{FILE}: to download it, pip install pooch; .*{FILE} into rat/"):
        datasets.rat_session(NAME)
    (tmp_path / "mine" / "rat").mkdir(parents=True)
    shutil.copy(tmp_path / "source.mat", tmp_path / "mine" / "rat" / FILE)
    assert datasets.rat_session(NAME, tmp_path / "mine").n_neurons == 5


def test_an_answer_that_is_no_file(cache, server, monkeypatch):
    monkeypatch.setattr(datasets, "ADDRESS", server.address + "gone/x")
    monkeypatch.setattr(sys.modules[__name__], "FILE", "other")
    with pytest.raises(ConnectionError, match="expected to download it, got HTTPError"):
        datasets.rat_session(NAME)


def test_sessions_that_nobody_knows(cache, tmp_path):
    for twin in (None, jr.key(0)):
        with pytest.raises(
            FileNotFoundError, match=rf"T9: expected a session that is published, {NAME}, .* add"
        ):
            datasets.rat_session("T9", tmp_path, twin=twin)


def test_files_of_ones_own_are_read_without_a_check(cache, monkeypatch, tmp_path):
    assert datasets.find_rat_session() is None
    monkeypatch.setenv(datasets.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "rat").mkdir()
    assert datasets.find_rat_session() is None
    for name in ("b", "a"):
        (tmp_path / "rat" / f"{name}.mat").write_bytes(b"")
    assert datasets.find_rat_session() == datasets.find_rat_session(tmp_path) == "a"
    with pytest.raises(ValueError, match="a.mat: expected a MATLAB session file"):
        datasets.rat_session("a")
    mat_file(tmp_path / "rat" / "b.mat")
    assert datasets.rat_session("b").n_trials == 20


def test_the_registry_grows_and_keeps_what_it_has(cache, tmp_path, monkeypatch, capsys):
    other = tmp_path / "A000_2020_01_01.mat"
    other.write_bytes(b"other")
    shutil.copy(tmp_path / "source.mat", tmp_path / FILE)
    monkeypatch.setattr(sys, "argv", ["datasets", "add", str(other), str(tmp_path / FILE)])
    datasets._main()
    said = capsys.readouterr().out
    assert f"{other.name} sha256:{hashlib.sha256(b'other').hexdigest()} added" in said
    assert "is registered already" in said and list(datasets.registry()) == [other.name, FILE]
    other.write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"expected the registered file, sha256:.* take its line out"):
        datasets._main()
    assert pooch.create(tmp_path, "", registry=None).load_registry(datasets.REGISTRY) is None


def test_a_page_says_what_it_shows(cache, tmp_path):
    found = datasets.rat_or_twin(key=jr.key(0))
    assert not found.real and "synthetic" in found.source
    same(found.recording, datasets.clicks_session(jr.key(0)).recording)
    (tmp_path / "rat").mkdir()
    shutil.copy(tmp_path / "source.mat", tmp_path / "rat" / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(datasets.FOLDER_VARIABLE, str(tmp_path))
        found = datasets.rat_or_twin(key=jr.key(0))
    assert found.real and NAME in found.source and found.recording.n_trials == 20


def test_the_registry_that_ships_names_the_published_sessions():
    found = datasets.registry()
    assert "T176_2018_05_03.mat" in found
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in found.values())


@needs_data
@pytest.mark.data
def test_a_published_session_is_found():
    assert isinstance(datasets.rat_session(datasets.find_rat_session()), Recording)
