# ruff: noqa
from latefusion.image import *
from latefusion.image import ROWS, Photo, to_levels, read_photo, ImageSource

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
