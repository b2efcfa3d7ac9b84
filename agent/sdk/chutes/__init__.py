"""chutes — what a job's author imports: a chute, its jobs, and the errors they may raise. Runs nothing by itself."""

from chutes.chute import Chute, NodeSelector
from chutes.chute.job import Port
from chutes.errors import HTTPException, PermanentError, PlatformError, RetriableError
from chutes.image import Image

__all__ = [
    "Chute",
    "HTTPException",
    "Image",
    "NodeSelector",
    "PermanentError",
    "PlatformError",
    "Port",
    "RetriableError",
]
