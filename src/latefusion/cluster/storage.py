"""One interface to local folders and object storage, with retries and atomic writes."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, TypeVar

from fsspec import AbstractFileSystem
from fsspec.core import has_magic, url_to_fs
from fsspec.implementations.local import LocalFileSystem
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from latefusion.errors import LatefusionError, OutputError, install_hint, reason, shown
from latefusion.images.regular import open_regular, require_regular
from latefusion.images.writing import make_folder, whole_file

T = TypeVar("T")

TRIES = 7
# Seconds, doubled after each try, plus a random part so that workers do not retry in step.
WAIT = wait_exponential(multiplier=0.2, max=10) + wait_random(0, 0.2)
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
# Errors of object-store clients that are not OSErrors.
FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
)


@dataclass(frozen=True)
class Storage:
    """A local folder, or one in an object store that fsspec supports, given by its URL.

    The methods take paths below it, with / between the parts. It is pickled as its URL only.
    """

    url: str

    @cached_property
    def fs(self) -> AbstractFileSystem:
        return self._opened[0]

    @cached_property
    def root(self) -> str:
        return str(self._opened[1]).rstrip("/")

    @cached_property
    def _opened(self) -> tuple[AbstractFileSystem, str]:
        scheme = self.url.partition("://")[0]
        if self.local:  # not by url_to_fs, which takes :: in a name for a chain of URLs
            return LocalFileSystem(), self.url
        try:
            return url_to_fs(self.url, use_listings_cache=False)
        except ImportError:
            extra = EXTRAS.get(scheme)
            cure = install_hint(extra) if extra else "install its fsspec package"
            raise LatefusionError(
                f"{shown(self.url)} needs a package for {scheme}; {cure}"
            ) from None
        except ValueError as error:
            raise LatefusionError(
                f"{shown(self.url)} is not a valid location: {reason(error)}"
            ) from None

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    @property
    def local(self) -> Path | None:
        """The path of the folder if it is local, else None."""
        return None if is_remote(self.url) else Path(self.url)

    def at(self, path: str) -> str:
        """A path below it in the form that fsspec takes."""
        return f"{self.root}/{path}" if path else self.root

    def label(self, path: str) -> str:
        """A path below it with its URL, for messages."""
        return f"{self.url.rstrip('/')}/{path}"

    def read(self, path: str) -> bytes:
        """Read a file. Raises OSError if all retries fail."""
        self._require_regular(path)
        found: bytes = patiently(lambda: self.fs.cat_file(self.at(path)))
        return found

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Read several files, remote ones concurrently. Raises OSError."""
        if self.local or not paths:
            return [self.read(path) for path in paths]
        there = [self.at(path) for path in paths]
        found = patiently(lambda: self.fs.cat(there))
        by_name = {str(name).lstrip("/"): data for name, data in found.items()}
        return [by_name[path.lstrip("/")] for path in there]

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write a file atomically. Raises OutputError."""
        if self.local:
            with self.writing(path) as file:
                file.write(data)
            return
        with _as_output_error(self.label(path)):  # an object appears once it is complete
            patiently(lambda: self.fs.pipe_file(self.at(path), bytes(data)))

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file to write, which appears if the block ends without an error. OutputError."""
        if self.local:
            target = self.local / path
            make_folder(target.parent)
            with whole_file(target) as file:
                yield file
            return
        with _as_output_error(self.label(path)), NamedTemporaryFile() as spool:
            yield spool
            spool.flush()
            patiently(lambda: self.fs.put_file(spool.name, self.at(path)))

    @contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file to stream. Reading it is not retried and may raise `transient_errors()`."""
        self._require_regular(path)
        with patiently(lambda: self.fs.open(self.at(path), "rb")) as file:
            yield file

    @contextmanager
    def copied(self, path: str) -> Iterator[IO[bytes]]:
        """Open a local copy of a file to read. Raises OSError."""
        if self.local:
            with open_regular(self.local / path) as file:
                yield file
            return
        with NamedTemporaryFile() as spool:
            patiently(lambda: self.fs.get_file(self.at(path), spool.name))
            yield spool

    def _require_regular(self, path: str) -> None:
        """Raise OSError for a local pipe or device, which a retry would wait for again."""
        if self.local:
            require_regular(self.local / path)

    def is_folder(self) -> bool:
        """True if the location itself is a folder. Raises OSError, also if nothing exists."""
        return bool(patiently(lambda: self.fs.info(self.root))["type"] == "directory")

    def exists(self, path: str) -> bool:
        """True if a file or folder of this path exists. Raises OSError."""
        return bool(patiently(lambda: self.fs.exists(self.at(path))))

    def size(self, path: str) -> int:
        """The size of a file in bytes; 0 if there is none. Raises OSError."""
        try:
            found = patiently(lambda: self.fs.info(self.at(path)))
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return int(found["size"] or 0) if found["type"] == "file" else 0

    def entries(self, path: str = "") -> list[tuple[str, bool]]:
        """List a folder as sorted (name, is a folder). Raises OSError.

        Links to folders are skipped, as they may form cycles. In an object store, a missing folder
        is an empty one. The whole list is in memory: a million names on S3 take 1.5 GB.
        """
        if self.local:
            return _local_entries(self.local / path)
        folder = self.at(path)

        def listed() -> list[dict[str, Any]]:
            return self.fs.ls(folder, detail=True)

        try:
            found = patiently(listed)
        except (FileNotFoundError, NotADirectoryError):
            return []
        named = [(str(entry["name"]).rstrip("/"), entry["type"]) for entry in found]
        return sorted(
            (name.rpartition("/")[2], kind == "directory") for name, kind in named if name != folder
        )

    def files(self, path: str = "") -> list[str]:
        """The paths of all files in a folder and its subfolders, sorted."""
        found: list[str] = patiently(lambda: self.fs.find(self.at(path)))
        return sorted(name.removeprefix(f"{self.root}/") for name in found)

    def remove_tree(self, path: str) -> None:
        """Remove a folder and its contents; do nothing if it does not exist."""
        if not self.local:
            self.remove(self.files(path))
            return
        with suppress(FileNotFoundError):
            patiently(lambda: shutil.rmtree(self.at(path)))

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that do not exist are ignored."""
        for start in range(0, len(paths), 1000):  # S3's limit for one request
            chunk = [self.at(path) for path in paths[start : start + 1000]]
            wild = [path for path in chunk if has_magic(path)]  # `rm` would treat them as globs
            if plain := [path for path in chunk if not has_magic(path)]:
                with suppress(FileNotFoundError):
                    patiently(partial(self.fs.rm, plain))
            for path in wild:
                with suppress(FileNotFoundError):
                    patiently(partial(self.fs.rm_file, path))


def is_remote(url: str) -> bool:
    """True if the URL has a scheme, that is, if it is not a local path."""
    return "://" in url


def storage_of(place: str) -> Storage:
    """The storage of a folder or URL from the command line; local paths are made absolute."""
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    if is_remote(place):
        scheme, _, path = place.partition("://")
        return Storage(f"{scheme}://{path.rstrip('/')}")
    return Storage(os.path.abspath(place))  # noqa: PTH100 - no resolving


def patiently(call: Callable[[], T]) -> T:
    """Return the value of a call, retried after transient errors of a network or a store.

    Raises the error of the last try, as an OSError.
    """
    try:
        return patience()(call)
    except FINAL:
        raise
    except transient_errors() as error:
        raise OSError(reason(error)) from error


def patience() -> Retrying:
    """The retry policy: up to TRIES tries with waits between, then the error of the last one."""
    return Retrying(
        stop=stop_after_attempt(TRIES),
        wait=WAIT,
        retry=retry_if_exception(_is_transient),
        reraise=True,
    )


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, transient_errors()) and not isinstance(error, FINAL)


def transient_errors() -> tuple[type[Exception], ...]:
    """Errors that a retry may solve: of the system, and of the object-store clients in use."""
    foreign = [
        getattr(import_module(module), name) for module, name in FOREIGN if module in sys.modules
    ]
    return (OSError, EOFError, *foreign)


def _local_entries(folder: Path) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry.name, entry.is_dir())
            for entry in entries
            if not (entry.is_symlink() and entry.is_dir())
        )


@contextmanager
def reached(place: Storage) -> Iterator[None]:
    """Turn an OSError of listing, reading or writing a location into OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{shown(place.url)} cannot be accessed: {reason(error)}") from None


@contextmanager
def _as_output_error(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:  # an object's name must be valid Unicode
        raise OutputError(f"{shown(name)} cannot be written: {reason(error)}") from None
