"""The files of the chat page: names, kinds, caching, compression."""

from pathlib import Path

import h11
import pytest

from relay.http.answers import Answer
from relay.http.requests import Request
from relay.http.site import Site

FILES = {
    "index.html": b"<!doctype html>",
    "index.html.br": b"brotli",
    "assets/app.1a2b.js": b"export {}",
    "assets/app.1a2b.js.gz": b"gzip",
    "assets/app.1a2b.js.br": b"brotli of js",
    "assets/style.99.css": b"body {}",
    "manifest.webmanifest": b"{}",
    "archive.gz": b"an archive of its own",
    ".hidden": b"secret",
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name, body in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (tmp_path / "outside").write_text("secret")
    return Site(tmp_path / "site")


def ask(site: Site, path: str, **headers: str) -> Answer | None:
    fields = [("Host", "relay.test:7450"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return site.answer(Request(h11.Request(method="GET", target=path, headers=fields)))


def headers_of(answer: Answer | None) -> dict[str, str]:
    assert answer is not None
    return dict(answer.headers)


def test_the_page_is_at_the_root_and_asked_for_each_time(site: Site) -> None:
    answer = ask(site, "/?x=1")
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"<!doctype html>")
    assert headers_of(answer)["Cache-Control"] == "no-cache"
    assert headers_of(answer)["Content-Type"] == "text/html; charset=utf-8"


def test_assets_are_kept_for_ever(site: Site) -> None:
    headers = headers_of(ask(site, "/assets/app.1a2b.js"))
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert headers_of(ask(site, "/assets/style.99.css"))["Content-Type"] == "text/css; charset=utf-8"
    assert headers_of(ask(site, "/manifest.webmanifest"))["Content-Type"] == "application/manifest+json"


@pytest.mark.parametrize(
    ("accepted", "coding", "body"),
    [
        ("", None, b"export {}"),
        ("identity", None, b"export {}"),
        ("gzip, deflate, br", "br", b"brotli of js"),
        ("gzip", "gzip", b"gzip"),
        ("br;q=0, gzip", "gzip", b"gzip"),
        ("br; q=0.5", "br", b"brotli of js"),
        ("*", "br", b"brotli of js"),
        ("gzip;q=0", None, b"export {}"),
    ],
)
def test_the_smallest_form_that_the_client_takes(site: Site, accepted: str, coding: str | None, body: bytes) -> None:
    answer = ask(site, "/assets/app.1a2b.js", Accept_Encoding=accepted)
    assert headers_of(answer).get("Content-Encoding") == coding
    assert headers_of(answer)["Vary"] == "Accept-Encoding"
    assert answer is not None
    assert answer.body == body


def test_what_the_client_has_is_not_sent_again(site: Site) -> None:
    etag = headers_of(ask(site, "/", Accept_Encoding="br"))["ETag"]
    assert etag != headers_of(ask(site, "/"))["ETag"]
    for condition in (etag, f'"other", W/{etag}', "*"):
        answer = ask(site, "/", Accept_Encoding="br", If_None_Match=condition)
        assert answer is not None
        assert (answer.status, answer.body) == (304, b"")
        assert headers_of(answer)["ETag"] == etag
    again = ask(site, "/", Accept_Encoding="br", If_None_Match='"other"')
    assert again is not None
    assert again.status == 200


@pytest.mark.parametrize("path", ["/index.html", "/.hidden", "/assets/app.1a2b.js.gz", "/assets", "/assets/", "/x"])
def test_only_the_names_of_files_are_there(site: Site, path: str) -> None:
    assert ask(site, path) is None


def test_an_archive_is_a_file_of_its_own(site: Site) -> None:
    answer = ask(site, "/archive.gz")
    assert answer is not None
    assert answer.body == FILES["archive.gz"]


@pytest.mark.parametrize(
    "path", ["/../outside", "/assets/../../outside", "//outside", "/%2e%2e/outside", "/..\\outside"]
)
def test_no_path_leads_outside(site: Site, path: str) -> None:
    assert ask(site, path) is None


def test_pages_run_nothing_of_others(site: Site) -> None:
    headers = headers_of(ask(site, "/"))
    rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["connect-src"] == "'self' ws://relay.test:7450 wss://relay.test:7450"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_relay_without_a_built_page_says_so(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        answer = ask(Site(directory), "/")
        assert answer is not None
        assert b"make web" in answer.body
        assert ask(Site(directory), "/assets/x") is None
