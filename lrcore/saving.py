"""Saving of what was fitted: one file, with a line that says what it holds and then its numbers."""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .mlp import mlp

_MAGIC = b"lrcore 1\n"


def save(path: str | os.PathLike, fitted: Any) -> None:
    """Write what was fitted, or a recording or a network, to one file, whole or not at all.

    **Arguments**

    - `fitted`: a `Connector`, a `Flow`, a fit of `lr.maxent` or of a state space, `Latents`, `Steps`, a
      `Recording`, the result of `lr.clusters.required`, ...

    **Raises** `TypeError` for what is not of lrcore; `ValueError` where it holds a function, such as an
    activation of one's own, as that cannot be written.

    >>> import tempfile
    >>> from lrcore.network import LowRankNetwork
    >>> net = LowRankNetwork(np.eye(2), np.eye(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/net.lrcore", net)
    ...     load(f"{folder}/net.lrcore").n.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if not _fields(fitted):
        raise TypeError(
            f"fitted: expected an object of lrcore, such as a Connector, got {type(fitted).__name__}"
        )
    content = encoded(fitted)
    write_whole(path, lambda file: file.write(content))


def encoded(fitted: Any) -> bytes:
    """The content of such a file; also of numbers, texts, arrays, and lists and dicts of these.

    **Raises** `ValueError` for what cannot be written.
    """
    fitted = _plain(fitted)
    content = io.BytesIO()
    content.write(json.dumps(_described(fitted, "result")).encode() + b"\n")
    eqx.tree_serialise_leaves(content, fitted)
    return _MAGIC + _digest(content) + content.getvalue()


def load(path: str | os.PathLike) -> Any:
    """Read what `save` wrote.

    **Raises** `ValueError` for another kind of file, a truncated or a damaged one; `FileNotFoundError`.
    """
    with open(path, "rb") as file:
        if file.readline(64) != _MAGIC:
            raise ValueError(f"path: expected a file written by lr.save, got another kind of file at {path}")
        try:
            digest, content = file.readline(), io.BytesIO(file.read())
            if digest != _digest(content):
                raise ValueError("its SHA-256 is another than it says")
            return eqx.tree_deserialise_leaves(content, _template(json.loads(content.readline())))
        except Exception as error:
            raise ValueError(
                f"path: {path} is damaged, truncated, or of another version of lrcore: {error}; write it "
                "anew with lr.save"
            ) from error


def _digest(content: io.BytesIO) -> bytes:
    return hashlib.sha256(content.getbuffer()).hexdigest().encode() + b"\n"


def write_whole(path: str | os.PathLike, write: Callable) -> None:
    """Write a file whole or not at all: to a neighbour first, which then takes its place."""
    path = Path(path)
    neighbour = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with open(neighbour, "wb") as file:
            write(file)
        os.replace(neighbour, path)
    finally:
        neighbour.unlink(missing_ok=True)


def _plain(fitted: Any) -> Any:
    """With Python's numbers for numpy's, and plain dicts for other kinds, whose order is another."""

    def one(x):
        if isinstance(x, dict):
            return {one(key): _plain(part) for key, part in x.items()}
        return x.item() if isinstance(x, np.generic) else x

    return jax.tree.map(one, fitted, is_leaf=lambda x: isinstance(x, dict))


def _described(x: Any, name: str) -> Any:
    """What stands where in a tree, for JSON: a list `[kind, ...]`, or a number, a text or nothing itself."""
    if x is None or isinstance(x, bool | float | str):
        return x
    # The integers that numpy has.
    if isinstance(x, int) and -(2**63) <= x < 2**64:
        return x
    if _readable(x):
        return ["jax" if isinstance(x, jax.Array) else "numpy", list(x.shape), np.dtype(x.dtype).str]
    if type(x) in (tuple, list):
        return [type(x).__name__, [_described(part, name) for part in x]]
    if isinstance(x, dict) and not all(isinstance(key, str) for key in x):
        # JSON would make texts of numbers, which stand in another order.
        if not all(isinstance(key, int | float) for key in x):
            raise ValueError(f"{name}: expected texts or numbers as keys to save, got {list(x)[:5]}")
        return ["pairs", [[key, _described(part, f"{name}[{key}]")] for key, part in x.items()]]
    if isinstance(x, dict):
        return ["dict", {key: _described(part, f"{name}['{key}']") for key, part in x.items()}]
    if isinstance(x, eqx.nn.MLP):
        return ["mlp", [x.in_size, x.out_size, x.width_size, x.depth]]
    kind, fields = type(x), _fields(x)
    if fields:
        parts = {field: _described(getattr(x, field), field) for field in fields}
        return ["module", kind.__module__, kind.__name__, parts]
    what = "a function" if callable(x) else f"a {kind.__name__}"
    if isinstance(x, jax.Array | np.ndarray):
        what += f" of {x.dtype}"
    raise ValueError(
        f"{name}: expected a name or numbers to save, got {what}: fit with one of the named ones"
    )


def _readable(x: Any) -> bool:
    """Whether it is an array that comes back as it is from its numbers and the name of their type."""
    if not isinstance(x, jax.Array | np.ndarray) or isinstance(x, np.ma.MaskedArray):
        return False
    kind = x.dtype
    return isinstance(kind, np.dtype) and kind.kind != "O" and np.dtype(kind.str) == kind


def _template(described: Any) -> Any:
    """A tree of the described structure, whose numbers `load` replaces."""
    if not isinstance(described, list):
        return described
    kind, *rest = described
    if kind in ("jax", "numpy"):
        return (jnp if kind == "jax" else np).zeros(rest[0], np.dtype(rest[1]))
    if kind in ("tuple", "list"):
        return {"tuple": tuple, "list": list}[kind](map(_template, rest[0]))
    if kind == "dict":
        return {key: _template(part) for key, part in rest[0].items()}
    if kind == "pairs":
        return {key: _template(part) for key, part in rest[0]}
    if kind == "mlp":
        return mlp(*rest[0], jax.random.key(0))
    module, name, fields = rest
    if not module.startswith("lrcore."):
        raise ValueError(f"{module} is not of lrcore")
    kind = getattr(importlib.import_module(module), name)
    if issubclass(kind, tuple):
        return kind(**{field: _template(part) for field, part in fields.items()})
    made = object.__new__(kind)
    for field in dataclasses.fields(made):
        object.__setattr__(made, field.name, _template(fields[field.name]))
    return made


def _fields(x: Any) -> tuple[str, ...]:
    """Names of the parts of a module or of a named tuple of lrcore; none of anything else."""
    if not type(x).__module__.startswith("lrcore."):
        return ()
    if isinstance(x, eqx.Module):
        return tuple(field.name for field in dataclasses.fields(x))
    return getattr(x, "_fields", ())
