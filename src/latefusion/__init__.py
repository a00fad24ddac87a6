"""Portrait matting with a late-fusion network: from a photo to a clean cut-out."""

from latefusion.drop_in import new_session, remove
from latefusion.errors import LatefusionError
from latefusion.matte import Matte
from latefusion.predictor import Matter, load, matte

__version__ = "0.1.0"

__all__ = [
    "LatefusionError",
    "Matte",
    "Matter",
    "__version__",
    "load",
    "matte",
    "new_session",
    "remove",
]
