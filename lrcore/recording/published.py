"""Published sessions: found in a folder, in the cache, or downloaded; checked by their hash."""

import argparse
import errno
import hashlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

from jaxtyping import PRNGKeyArray

from .clicks_session import clicks_session
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


class RatSession(NamedTuple):
    """A recording for a page, and where it is from.

    - `recording`: spikes, clicks and choices.
    - `real`: whether an animal made them; False for the synthetic twin.
    - `source`: the same in words, for the page to say.
    """

    recording: Recording
    real: bool
    source: str


def rat_session(
    name: str, folder: str | os.PathLike | None = None, *, twin=None, drop_constant: bool = False
) -> Recording:
    """A published session of a rat in the Poisson-Clicks task: from a folder of one's own, from the cache, or
    downloaded.

    Looked for in this order: `<folder>/rat/<name>.mat`, the cache of the operating system, the repository of
    the paper. A download shows its progress, goes on where an earlier one broke off, and stands under its
    name only when whole and of the registered SHA-256. It is kept in the folder where one is given and may be
    written to, else in the cache. Files of registered sessions are checked wherever they lie; a file of one's
    own that is not registered is read without a check.

    **Arguments**

    - `name`: such as `"T176_2018_05_03"`; `registry()` has the names that can be downloaded.
    - `folder`: default is the environment variable `LRCORE_DATA`.
    - `twin`: a jax random key: where the session is not at hand and cannot be fetched, return the recording
      of `clicks_session(twin)` instead, with a `UserWarning` that it is synthetic. Other failures are raised
      all the same.
    - `drop_constant`: as for the recording.

    **Raises** `FileNotFoundError` for a name that is in no folder and not registered; `ConnectionError`
    without network; `ImportError` without pooch, where a download is needed; `ValueError` for a file whose
    SHA-256 is another, and as `Recording.from_mat`; `OSError` when the disk is full.

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


def rat_or_twin(name: str | None = None, *, key: PRNGKeyArray) -> RatSession:
    """The session that a page shows: a recorded one where there is a folder of them, else the synthetic twin.

    Without a name nothing is downloaded, so that a page is the same with and without network.

    **Arguments**

    - `name`: as for `rat_session`, which then raises what it raises; default is `find_rat_session()`.
    - `key`: a jax random key for the twin, `clicks_session(key)`.

    >>> import jax.random as jr
    >>> session = rat_or_twin(key=jr.key(0))
    >>> session.real == (find_rat_session() is not None)
    True
    """
    name = name or find_rat_session()
    if name is None:
        words = "a synthetic session of the same structure, as no folder of recordings is set"
        return RatSession(clicks_session(key).recording, False, words)
    return RatSession(rat_session(name), True, f"the recorded session {name} (Luo, Kim et al. 2025)")


def find_rat_session(folder: str | os.PathLike | None = None) -> str | None:
    """The name of the first session in the folder (default: `LRCORE_DATA`), or None where there is none.

    >>> find_rat_session("/nowhere") is None
    True
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    found = sorted(Path(given, "rat").glob("*.mat")) if given else []
    return found[0].stem if found else None


# --- files of published sessions


def registry() -> dict[str, str]:
    """SHA-256 of the published sessions by file name, from `registry.txt`;
    `python -m lrcore.recording.published add` extends it.

    >>> sorted(registry())[0]
    'T176_2018_05_03.mat'
    """
    return dict(line.split() for line in REGISTRY.read_text().splitlines())


def _session_file(file, folder) -> Path:
    """Where the session's file is, after a download if need be."""
    given = folder or os.environ.get(FOLDER_VARIABLE)
    known = registry().get(file)
    own = Path(given, "rat", file) if given else None
    if own and own.exists():
        return own if known is None else _checked(own, known)
    if known is None:
        names = ", ".join(name.removesuffix(".mat") for name in registry())
        raise FileNotFoundError(
            f"{file.removesuffix('.mat')}: expected a session that is published, {names}, or one in a folder "
            f"of your own{f', got no {own}' if own else ''}: put its file into rat/ of the folder that "
            f"{FOLDER_VARIABLE} names; to check and share others, python -m lrcore.recording.published add "
            "FILE"
        )
    try:
        import pooch
    except ImportError as error:
        raise ImportError(f"{file}: to download it, pip install pooch; {_or_folder(file)}") from error

    cached = Path(pooch.os_cache("lrcore"), "rat", file)
    if cached.exists():
        return _checked(cached, known)
    target = own if own and os.access(str(given), os.W_OK) else cached
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(ADDRESS + file, target, known)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"{target}: expected room for a session, got a full disk: free some and call again, it goes on "
            f"from {target.name}.part; or name a folder elsewhere in {FOLDER_VARIABLE}",
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
                    f"{address}: expected to download it, got {type(error).__name__}: "
                    f"{_or_folder(target.name)}; or use clicks_session, or twin=key, for a synthetic one"
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
            f"{path}: expected the published file, {known}, got {found}: it was changed, or is another "
            "session; remove it to fetch it again"
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
        prog="python -m lrcore.recording.published", description="The registry of sessions."
    )
    parser.add_argument("command", choices=["add"], help="register session files by their SHA-256")
    parser.add_argument("files", nargs="+", metavar="FILE", help="<name>.mat")
    _add(parser.parse_args().files)


if __name__ == "__main__":
    _main()
