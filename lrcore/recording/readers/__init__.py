"""Readers of the field's files: each gives the arguments of a `Recording`."""

from ..validation import BIN_WIDTH as BIN_WIDTH
from ._files import naming as naming
from ._mat import mat as mat
from ._npz import npz as npz
from ._nwb import nwb as nwb
from ._pynapple import pynapple as pynapple
