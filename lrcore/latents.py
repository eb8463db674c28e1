"""Latent states of a recording, with the neurons' embedding: a quick first look, and a model with uncertainty."""

from .factors import Latents as Latents
from .factors import smooth as smooth
from .statespace import StateSpaceFit as StateSpaceFit
from .statespace import fit as fit
from .statespace import infer as infer
