"""Official weights as files: where they are kept, how they are downloaded and verified. Needs no torch.

The cache is one folder that holds every file under its `Weights.file`; files in a form that torch does not read (or
only by unpickling) have their tensors beside them in a safetensors file (`featx.networks.checkpoint`). A file has its
name only once it is whole and verified, so any number of processes may fill one cache. Weights whose address begins
with "package:" are part of featx: they are read where they lie, and verified like all others.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from featx import __version__
from featx.errors import WeightsError
from featx.networks.sheet import Weights

TIMEOUT_S = 30
PACKAGE = "package:"  # the scheme of weights that are part of featx, in the folder `featx/networks/bundled`
CONVERTED = (".p", ".h5", ".hdf5")  # pickles of the old kind, and Keras
_BLOCK_BYTES = 1 << 20
_BLOB_API = re.compile(r"/git/blobs/[0-9a-f]{40}")

Progress = Callable[[int, int], None]


def converted_path(weights: Weights, cache: Path) -> Path | None:
    """Where the tensors of official weights are kept once they are converted; None where the file is read as it is.

    Examples
    --------
    >>> sheet = Weights("https://a.org/b.p", "b.p", "", "MIT")
    >>> converted_path(sheet, Path("cache")).name
    'b.p.safetensors'
    """
    return cache / f"{weights.file}.safetensors" if weights.file.endswith(CONVERTED) else None


def bundled_path(weights: Weights) -> Path | None:
    """The file of featx that official weights are; None where they are not part of it.

    Examples
    --------
    >>> bundled_path(Weights("package:a.safetensors", "a.safetensors", "", "MIT")).parts[-3:]
    ('networks', 'bundled', 'a.safetensors')
    >>> bundled_path(Weights("https://a.org/b.pth", "b.pth", "", "MIT"))
    """
    if not weights.url.startswith(PACKAGE):
        return None
    return Path(str(files("featx.networks"))) / "bundled" / weights.url.removeprefix(PACKAGE)


def find_cached(weights: Weights, cache: Path) -> Path | None:
    """The file that official weights are read from; None where they would have to be downloaded."""
    places = (bundled_path(weights), converted_path(weights, cache), cache / weights.file)
    return next((path for path in places if path is not None and path.is_file()), None)


def has_digest(path: Path, digest: str) -> bool:
    """Whether a file has a digest "sha256:HEX" (HEX may be its beginning) or "git-blob-sha1:HEX"."""
    kind, _, wanted = digest.partition(":")
    if kind == "git-blob-sha1":
        total = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest().startswith(wanted)


def fetch(weights: Weights, cache: Path, name: str, on_progress: Progress | None = None) -> Path:
    """Path of official weights in a cache, downloaded if they are not there; verified every time.

    Parameters
    ----------
    name : str
        Of the network, for the sentence of an error.
    on_progress : callable, optional
        Given bytes done and bytes in all while downloading; not called where the server does not say how many.

    Raises
    ------
    WeightsError
        They cannot be downloaded, or are not those of the digest. Where no digest is known there is nothing to
        compare, but what the server itself says is the sha256 of a download (an entity tag of 64 hex digits).
    """
    own = bundled_path(weights)
    if own is not None:
        if not own.is_file():
            raise WeightsError(f"weights of {name} must be part of featx; {own} is not there; install featx again")
        _check_digest(own, weights.digest, f"the file {own}", "install featx again")
        return own
    path = cache / weights.file
    if path.is_file():
        _check_digest(path, weights.digest, f"the file {path}", "delete it to download it again")
        return path
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    cache.mkdir(parents=True, exist_ok=True)
    try:
        named = _download(weights.url, beside, on_progress)
        _check_digest(beside, weights.digest or named, f"what {weights.url} sent", "try again, or get them elsewhere")
        beside.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"official weights of {name} must be downloaded once; {weights.url} could not be ({_reason(error)}); on "
            f"a machine that has a network, run `featx networks fetch {name} --to DIR` and copy what is in DIR to "
            f"{cache}, or give --weights {name}=FILE"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def _check_digest(path: Path, digest: str, what: str, advice: str) -> None:
    if digest and not has_digest(path, digest):
        raise WeightsError(
            f"official weights must have the digest {digest}; {what} has another "
            f"({path.stat().st_size:,} bytes); {advice}"
        )


# --- download -------------------------------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the headers of redirections: Hugging Face names a file's sha256 there, its storage does not."""

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []

    def redirect_request(self, req: Any, fp: Any, code: int, *rest: Any) -> Any:
        """Follow a redirection as usual; `rest` are its message, its headers and the new address."""
        self.headers.append(rest[1])
        return super().redirect_request(req, fp, code, *rest)


def _download(url: str, path: Path, on_progress: Progress | None) -> str:
    """Write what a server sends; the digest that it names, "" if it names none. Proxies are the environment's."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise OSError("its address must begin with https://")
    redirects = _Redirects()
    asked = urllib.request.Request(url, headers={"User-Agent": f"featx/{__version__}"})
    opener = urllib.request.build_opener(redirects)
    with opener.open(asked, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while block := answer.read(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            if on_progress and total:
                on_progress(done, total)
        named = _named_sha256([*redirects.headers, answer.headers])
    if total and done != total:
        raise OSError(f"it ended after {done:,} of {total:,} bytes")
    if _BLOB_API.search(urlsplit(url).path):
        _unwrap_blob(path)
    return named


def _named_sha256(answers: list[Mapping[str, str]]) -> str:
    """ "sha256:HEX" where a header of an answer, or of a redirection to it, names one."""
    linked = [headers.get("X-Linked-Etag") or "" for headers in answers]
    for tag in (*linked, answers[-1].get("ETag") or ""):
        if found := re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', tag.strip()):
            return f"sha256:{found[1]}"
    return ""


def _unwrap_blob(path: Path) -> None:
    """Put the bytes of a git blob in the place of GitHub's JSON about it; anything else stays as it is."""
    try:
        told = json.loads(path.read_bytes())
    except ValueError:  # the blob itself, which a server may send as well
        return
    if isinstance(told, dict) and told.get("encoding") == "base64" and isinstance(told.get("content"), str):
        try:
            path.write_bytes(base64.b64decode(told["content"]))
        except ValueError as error:
            raise OSError(f"its base64 is damaged: {error}") from error


def _reason(error: OSError | http.client.HTTPException) -> str:
    if not isinstance(error, urllib.error.HTTPError):
        return str(getattr(error, "reason", error)) or type(error).__name__
    with error:
        wait, opens = error.headers.get("Retry-After"), error.headers.get("X-RateLimit-Reset") or ""
        full = error.code == 429 or wait or error.headers.get("X-RateLimit-Remaining") == "0"
        if error.code not in (403, 429) or not full:
            return f"HTTP {error.code} {error.reason}"
        when = f" in {wait} s" if wait else ""
        if not when and opens.isdecimal():
            when = f" at {datetime.fromtimestamp(int(opens), UTC):%H:%M} UTC"
        return f"HTTP {error.code}: too many requests from this address; it answers again{when or ' later'}"
