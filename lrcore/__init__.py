"""lrcore: which connectivity does a computation require?

A recording becomes latents, latents and embeddings become a connectivity distribution, a distribution
becomes networks, networks become predictions. The theory lies flat here; what makes latents of
recordings, and what trains networks, stands in `recording`, `latents` and `training`.
"""

import importlib

__version__ = "0.1.0"

from . import belief as belief
from . import book as book
from . import cell_types as cell_types
from . import clusters as clusters
from . import compare as compare
from . import dale as dale
from . import design as design
from . import evidence as evidence
from . import flowfield as flowfield
from . import gauge as gauge
from . import identifiability as identifiability
from . import latents as latents
from . import maxent as maxent
from . import optimize as optimize
from . import perturb as perturb
from . import population as population
from . import recording as recording
from . import systems as systems
from . import tails as tails
from . import training as training
from .connector import Connector as Connector
from .distributions import ConnectivityDistribution as ConnectivityDistribution
from .distributions import GaussianMixture as GaussianMixture
from .flow import Flow as Flow
from .network import Embedding as Embedding
from .network import LowRankNetwork as LowRankNetwork
from .null_space import null_space_partner as null_space_partner
from .recording import Recording as Recording
from .saving import load as load
from .saving import save as save
from .steps import Steps as Steps
from .steps import steps as steps
from .sweep import sweep as sweep


def __getattr__(name: str):
    # Drawing is slow to import and no computation needs it.
    if name in ("plots", "widgets"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'lrcore' has no attribute '{name}'")
