"""Published sessions: found in a folder, in the cache, or downloaded; checked by their hash."""

import errno
import hashlib
import http.server
import re
import shutil
import socket
import sys
import threading
import time

import jax
import jax.random as jr
import numpy as np
import pooch
import pytest
import scipy.io

from lrcore.recording import Recording, find_rat_session, published, rat_or_twin, rat_session, registry
from lrcore.recording import clicks_session as make

needs_data = pytest.mark.skipif(
    find_rat_session() is None, reason="LRCORE_DATA names no folder with rat/*.mat"
)

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
    monkeypatch.setattr(published, "REGISTRY", tmp_path / "registry.txt")
    published.REGISTRY.write_text(f"{FILE} {known}\n")
    monkeypatch.setattr(published, "ADDRESS", f"http://127.0.0.1:{port}/")
    monkeypatch.delenv(published.FOLDER_VARIABLE, raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "lrcore" / "rat"


@pytest.fixture
def server(cache, monkeypatch):
    found = Server((cache.parents[2] / "source.mat").read_bytes())
    monkeypatch.setattr(published, "ADDRESS", found.address)
    yield found
    found.server.shutdown()
    found.server.server_close()


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_session_is_downloaded_once(cache, server, capsys):
    recording = rat_session(NAME)
    same(recording, Recording.from_mat(cache.parents[2] / "source.mat"))
    same(recording, rat_session(FILE))
    assert server.ranges == ["bytes=0-"] and [p.name for p in cache.iterdir()] == [FILE]
    assert "100%" in capsys.readouterr().err


def test_a_folder_comes_first_and_takes_the_download(cache, server, tmp_path, monkeypatch):
    monkeypatch.setenv(published.FOLDER_VARIABLE, str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    rat_session(NAME)
    assert (tmp_path / "mine" / "rat" / FILE).exists() and not cache.exists()
    assert find_rat_session() == NAME
    rat_session(NAME)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("ranges", [True, False], ids=["resumes", "server knows no ranges"])
def test_a_download_that_breaks_off_goes_on(cache, server, ranges):
    server.knows_ranges, server.breaks = ranges, [2048, 1024]
    rat_session(NAME)
    assert server.ranges == ["bytes=0-", "bytes=2048-", f"bytes={3072 if ranges else 1024}-"]
    assert (cache / FILE).read_bytes() == server.content and [p.name for p in cache.iterdir()] == [FILE]


def test_a_download_goes_on_in_a_later_call(cache, server):
    server.breaks = [1024] * published.ATTEMPTS
    with pytest.raises(ConnectionError, match=rf"{FILE}: expected to download it, got ChunkedEncodingError"):
        rat_session(NAME)
    assert [p.name for p in cache.iterdir()] == [f"{FILE}.part"]
    rat_session(NAME)
    assert server.ranges[-1] == f"bytes={1024 * published.ATTEMPTS}-"
    # All was there but for the name.
    (cache / FILE).rename(cache / f"{FILE}.part")
    rat_session(NAME)
    assert (cache / FILE).read_bytes() == server.content


def test_a_changed_file_is_refused_with_both_hashes(cache, server, tmp_path):
    known = registry()[FILE]
    right, server.content = server.content, server.content[:-1] + b"x"
    found = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    message = f"expected the published file, {known}, got {found}: .*remove it"
    with pytest.raises(ValueError, match=message):
        rat_session(NAME)
    assert not list(cache.iterdir())
    server.content = right
    rat_session(NAME)
    (cache / FILE).write_bytes(right[:-1] + b"x")
    with pytest.raises(ValueError, match=message):
        rat_session(NAME)
    (tmp_path / "mine" / "rat").mkdir(parents=True)
    (tmp_path / "mine" / "rat" / FILE).write_bytes(right[:-1] + b"x")
    with pytest.raises(ValueError, match=rf"mine/rat/{FILE}: {message}"):
        rat_session(NAME, tmp_path / "mine")


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
            rat_session(NAME, twin=jr.key(0))
    assert raised.value.errno == errno.ENOSPC
    assert [p.name for p in cache.iterdir()] == [f"{FILE}.part"]
    rat_session(NAME)
    assert server.ranges == ["bytes=500-"]


def test_without_network_both_ways_are_named(cache):
    begin = time.perf_counter()
    with pytest.raises(ConnectionError, match=rf"network and call again, or put {FILE} into .*LRCORE_DATA"):
        rat_session(NAME)
    assert time.perf_counter() - begin < 12
    with pytest.warns(UserWarning, match=f"a SYNTHETIC session stands in for {NAME}"):
        same(rat_session(NAME, twin=jr.key(3)), make(jr.key(3)).recording)


def test_without_pooch_a_folder_does(cache, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=f"{FILE}: to download it, pip install pooch; .*{FILE} into rat/"):
        rat_session(NAME)
    (tmp_path / "mine" / "rat").mkdir(parents=True)
    shutil.copy(tmp_path / "source.mat", tmp_path / "mine" / "rat" / FILE)
    assert rat_session(NAME, tmp_path / "mine").n_neurons == 5


def test_an_answer_that_is_no_file(cache, server, monkeypatch):
    monkeypatch.setattr(published, "ADDRESS", server.address + "gone/x")
    monkeypatch.setattr(sys.modules[__name__], "FILE", "other")
    with pytest.raises(ConnectionError, match="expected to download it, got HTTPError"):
        rat_session(NAME)


def test_sessions_that_nobody_knows(cache, tmp_path):
    for twin in (None, jr.key(0)):
        with pytest.raises(
            FileNotFoundError, match=rf"T9: expected a session that is published, {NAME}, .* add"
        ):
            rat_session("T9", tmp_path, twin=twin)


def test_files_of_ones_own_are_read_without_a_check(cache, monkeypatch, tmp_path):
    assert find_rat_session() is None
    monkeypatch.setenv(published.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "rat").mkdir()
    assert find_rat_session() is None
    for name in ("b", "a"):
        (tmp_path / "rat" / f"{name}.mat").write_bytes(b"")
    assert find_rat_session() == find_rat_session(tmp_path) == "a"
    with pytest.raises(ValueError, match="a.mat: expected a MATLAB session file"):
        rat_session("a")
    mat_file(tmp_path / "rat" / "b.mat")
    assert rat_session("b").n_trials == 20


def test_the_registry_grows_and_keeps_what_it_has(cache, tmp_path, monkeypatch, capsys):
    other = tmp_path / "A000_2020_01_01.mat"
    other.write_bytes(b"other")
    shutil.copy(tmp_path / "source.mat", tmp_path / FILE)
    monkeypatch.setattr(sys, "argv", ["published", "add", str(other), str(tmp_path / FILE)])
    published._main()
    said = capsys.readouterr().out
    assert f"{other.name} sha256:{hashlib.sha256(b'other').hexdigest()} added" in said
    assert "is registered already" in said and list(registry()) == [other.name, FILE]
    other.write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"expected the registered file, sha256:.* take its line out"):
        published._main()
    assert pooch.create(tmp_path, "", registry=None).load_registry(published.REGISTRY) is None


def test_a_page_says_what_it_shows(cache, tmp_path):
    found = rat_or_twin(key=jr.key(0))
    assert not found.real and "synthetic" in found.source
    same(found.recording, make(jr.key(0)).recording)
    (tmp_path / "rat").mkdir()
    shutil.copy(tmp_path / "source.mat", tmp_path / "rat" / FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(published.FOLDER_VARIABLE, str(tmp_path))
        found = rat_or_twin(key=jr.key(0))
    assert found.real and NAME in found.source and found.recording.n_trials == 20


def test_the_registry_that_ships_names_the_published_sessions():
    found = registry()
    assert "T176_2018_05_03.mat" in found
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in found.values())


@needs_data
@pytest.mark.data
def test_a_published_session_is_found():
    assert isinstance(rat_session(find_rat_session()), Recording)
