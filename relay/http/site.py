"""The chat page: files read once at the start, and what of them fits a request.

`index.html` is asked for anew each time, by its ETag; files under `assets/` carry a hash of their content in
their name and are kept for ever. `NAME.br` and `NAME.gz` are NAME, compressed. Only these names exist: no path of a
request ever reaches the file system.
"""

import hashlib
import mimetypes
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from relay.http.answers import Answer, Headers, page, page_headers
from relay.http.requests import Request

DIRECTORY = Path(__file__).parent / "site"

_HASHED = "/assets/"
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"

# What browsers insist on, whatever the machine's own tables say.
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}

# In the order of preference.
_CODINGS = (("br", ".br"), ("gzip", ".gz"))

_PLACEHOLDER = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Relay</title>
<h1>Relay</h1>
<p>This is a message relay. The chat page is not built here: <code>make web</code> builds it.
<p>From a terminal: <code>relay chat</code>
"""


class _File(NamedTuple):
    kind: str
    # By content coding; "" is as it is.
    bodies: dict[str, bytes]
    etag: str
    cache: str


class Site:
    """All files, by the path of the URL."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        """Read the files. A directory that is missing or has no index.html makes a page that says so."""
        self._files: dict[str, _File] = {}
        found = sorted(path for path in directory.rglob("*") if path.is_file()) if directory.is_dir() else []
        names = {path.relative_to(directory).as_posix(): path for path in found}
        for name, path in names.items():
            if path.name.startswith(".") or (path.suffix in (".br", ".gz") and name[:-3] in names):
                continue
            variants = {coding: names[name + end] for coding, end in _CODINGS if name + end in names}
            self._files["/" + name] = _read(f"/{name}", path, variants)
        index = self._files.pop("/index.html", None)
        if index is not None:
            self._files["/"] = index

    def __repr__(self) -> str:
        return f"<Site: {len(self._files)} files>"

    def answer(self, request: Request) -> Answer | None:
        """The file that the request asks for; None if there is none."""
        host = request.header("host")
        file = self._files.get(request.path)
        if file is None:
            return page(_PLACEHOLDER, host, (("Cache-Control", "no-store"),)) if request.path == "/" else None
        coding = _choose(file, request.header("accept-encoding"))
        etag = f'"{file.etag}{"-" + coding if coding else ""}"'
        headers: Headers = (("ETag", etag), ("Cache-Control", file.cache), ("Vary", "Accept-Encoding"))
        headers = (*page_headers(host), *headers)
        if _matches(request.header("if-none-match"), etag):
            return Answer(HTTPStatus.NOT_MODIFIED, headers, b"")
        if coding:
            headers = (*headers, ("Content-Encoding", coding))
        return Answer(HTTPStatus.OK, (*headers, ("Content-Type", file.kind)), file.bodies[coding])


def _read(name: str, path: Path, variants: dict[str, Path]) -> _File:
    body = path.read_bytes()
    kind = _KINDS.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    bodies = {"": body} | {coding: variant.read_bytes() for coding, variant in variants.items()}
    cache = _FOR_EVER if name.startswith(_HASHED) else _ASK_EACH_TIME
    return _File(kind, bodies, hashlib.sha256(body).hexdigest()[:20], cache)


def _choose(file: _File, accepted: str) -> str:
    """The content coding to send (RFC 9110 section 12.5.3): the smallest that the client takes."""
    weights = {}
    for item in accepted.lower().split(","):
        coding, _, parameters = item.strip().partition(";")
        weights[coding.strip()] = parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    for coding, _ in _CODINGS:
        if coding in file.bodies and weights.get(coding, weights.get("*", False)):
            return coding
    return ""


def _matches(condition: str, etag: str) -> bool:
    if condition.strip() == "*":
        return True
    return etag in (item.strip().removeprefix("W/") for item in condition.split(","))
