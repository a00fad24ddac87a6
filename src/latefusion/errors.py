"""The errors a user can cause; a message names the thing, what is wrong and what would be right."""


class LatefusionError(Exception):
    """Root of all errors raised on purpose; anything else that escapes is a bug."""


class ImageError(LatefusionError):
    """A photo, alpha or background cannot be read, or has a form that is not understood."""


class WeightsError(LatefusionError):
    """A weight file or its sidecar is missing, damaged, or made for something else."""


class DataError(LatefusionError):
    """Data to train or measure with are missing or do not fit together."""


class OutputError(LatefusionError):
    """A result cannot be written."""


class TrainingError(LatefusionError):
    """A training run cannot start or cannot go on."""


class DeviceError(LatefusionError):
    """The device that was asked for is not there."""
