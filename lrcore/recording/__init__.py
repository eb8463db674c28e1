"""Recordings: what was recorded, the files that it stands in, a synthetic session, and published ones."""

from .clicks_session import NOISE as NOISE
from .clicks_session import Session as Session
from .clicks_session import clicks_session as clicks_session
from .published import RatSession as RatSession
from .published import find_rat_session as find_rat_session
from .published import rat_or_twin as rat_or_twin
from .published import rat_session as rat_session
from .published import registry as registry
from .recording import Recording as Recording
from .report import Finding as Finding
from .report import Report as Report
