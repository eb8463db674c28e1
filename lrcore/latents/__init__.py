"""Latent states of a recording, with the neurons' embedding: a quick first look, and a model with
uncertainty.
"""

from . import baseline as baseline
from . import heldout as heldout
from . import methods as methods
from . import surrogates as surrogates
from .factors import smooth as smooth
from .factors import white_factors as white_factors
from .fitting import StateSpaceFit as StateSpaceFit
from .fitting import fit as fit
from .fitting import infer as infer
from .from_rates import from_rates as from_rates
from .from_rates import halves as halves
from .latents import Latents as Latents
from .state_space import StateSpace as StateSpace
