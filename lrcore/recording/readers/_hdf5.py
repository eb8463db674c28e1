"""MATLAB files of version 7.3, which are HDF5, as the objects that scipy makes of older ones."""

from types import SimpleNamespace

import numpy as np


def load(path, names) -> dict:
    """Variables of a MATLAB 7.3 file by name, those of `names` with their values: structures with attributes,
    cells as arrays of objects, texts, and numbers without axes of size 1. Others are None.

    **Raises** `OSError` for what is no HDF5 file; `ImportError` without h5py.
    """
    import h5py

    with h5py.File(path, "r") as file:
        held = [name for name in file if not name.startswith("#")]
        return {name: _value(file, file[name]) if name in names else None for name in held}


def _value(file, item):
    if hasattr(item, "keys"):
        return _sparse(item) if "MATLAB_sparse" in item.attrs else _structure(file, item)
    kind = item.attrs.get("MATLAB_class", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if item.attrs.get("MATLAB_empty", 0):
        return "" if kind == "char" else np.zeros(0, object if kind == "cell" else float)
    held = item[()]
    if item.dtype.kind == "O":
        cells = np.empty(held.size, object)
        # MATLAB's first axis is HDF5's last.
        cells[:] = [_value(file, file[one]) for one in np.ravel(held.T)]
        return cells
    if kind == "char":
        return "".join(map(chr, np.ravel(held.T)))
    held = np.squeeze(np.asarray(held).T)
    held = held.astype(bool) if kind == "logical" else held
    return held.item() if held.ndim == 0 else held


def _structure(file, group):
    """A structure; or an array of them, which HDF5 has as fields that refer to a value for each."""
    fields = list(group)
    arrays = [_is_of_many(group[name]) for name in fields]
    if not fields or not all(arrays):
        return SimpleNamespace(**{name: _value(file, group[name]) for name in fields})
    columns = [[_value(file, file[one]) for one in np.ravel(group[name][()].T)] for name in fields]
    found = np.empty(len(columns[0]), object)
    found[:] = [SimpleNamespace(**dict(zip(fields, row, strict=True))) for row in zip(*columns, strict=True)]
    return found


def _is_of_many(item) -> bool:
    return not hasattr(item, "keys") and item.dtype.kind == "O" and "MATLAB_class" not in item.attrs


def _sparse(group):
    """A sparse matrix, with its zeros."""
    columns = np.asarray(group["jc"][()], int)
    made = np.zeros((int(group.attrs["MATLAB_sparse"]), len(columns) - 1))
    if "ir" in group:
        made[np.asarray(group["ir"][()], int), np.repeat(np.arange(len(columns) - 1), np.diff(columns))] = (
            group["data"][()]
        )
    return np.squeeze(made)
