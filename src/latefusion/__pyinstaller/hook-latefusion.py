"""The files of latefusion that a frozen program needs: weights, golden photo, page, versions."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

from latefusion.inference.doctor import EXTRAS, PACKAGES, RUNTIMES

datas = collect_data_files("latefusion", excludes=["**/*.safetensors"])
extras = [package for package, _ in EXTRAS.values()]
for name in ("latefusion", *extras, *RUNTIMES, *sum(PACKAGES.values(), ())):
    with suppress(PackageNotFoundError):
        datas += copy_metadata(name)
