"""Networks trained by backpropagation through time: on recordings, and on tasks."""

from . import tasks as tasks
from .backpropagation import Trained as Trained
from .backpropagation import on_recording as on_recording
from .backpropagation import on_task as on_task
