"""lrcore: which connectivity does a computation require?

A recording becomes latents, latents and embeddings become a connectivity distribution, a distribution
becomes networks, networks become predictions. The modules follow that way, in that order.
"""

import importlib

from . import baseline as baseline
from . import book as book
from . import compare as compare
from . import controls as controls
from . import datasets as datasets
from . import flow as flow
from . import flowfield as flowfield
from . import gauge as gauge
from . import heldout as heldout
from . import identifiability as identifiability
from . import latents as latents
from . import lint as lint
from . import maxent as maxent
from . import rates as rates
from . import structure as structure
from . import systems as systems
from . import tasks as tasks
from . import training as training
from .connector import Connector as Connector
from .distributions import Empirical as Empirical
from .distributions import GaussianMixture as GaussianMixture
from .flow import Flow as Flow
from .network import Embedding as Embedding
from .network import LowRankNetwork as LowRankNetwork
from .partner import null_space_partner as null_space_partner
from .recording import Recording as Recording

__version__ = "0.1.0"


def __getattr__(name: str):
    # Drawing is slow to import and no computation needs it.
    if name == "plots":
        return importlib.import_module(".plots", __name__)
    raise AttributeError(f"module 'lrcore' has no attribute '{name}'")
