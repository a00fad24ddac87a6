"""Portrait matting with a late-fusion network: from a photo to a clean cut-out."""

from latefusion.errors import LatefusionError
from latefusion.inference.matte import Matte
from latefusion.inference.options import MattingOptions
from latefusion.inference.outputs import Look
from latefusion.inference.predictor import Predictor, load, matte
from latefusion.rembg import new_session, remove

__version__ = "0.1.0"

__all__ = [
    "LatefusionError",
    "Look",
    "Matte",
    "MattingOptions",
    "Predictor",
    "__version__",
    "load",
    "matte",
    "new_session",
    "remove",
]
