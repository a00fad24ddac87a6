"""Portrait matting with a late-fusion network: from a photo to a clean cut-out."""

from latefusion.errors import LatefusionError
from latefusion.matte import Matte
from latefusion.predictor import Matter, matte

__version__ = "0.1.0"

__all__ = ["LatefusionError", "Matte", "Matter", "__version__", "matte"]
