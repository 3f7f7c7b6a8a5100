"""Downloads against a server on 127.0.0.1: verification, GitHub's blobs, entity tags, every refusal."""

import hashlib
import http.client
import re

import pytest

from featx.errors import WeightsError
from featx.networks.download import converted_path, fetch, find_cached, has_digest
from featx.networks.sheet import Weights
from tests.serving import Page, blob_json, blob_sha1, serve

CONTENT = bytes(range(256)) * 9000  # more than one block
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serve() as running:
        running.pages["/good"] = Page(CONTENT)
        yield running


def _weights(url, digest=f"sha256:{SHA256[:8]}", file="w.pth"):
    return Weights(url, file, digest, "MIT")


def test_a_file_is_downloaded_once(server, tmp_path):
    seen = []
    weights = _weights(f"{server.url}/good")
    path = fetch(weights, tmp_path / "a/b", "net", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert [one.name for one in (tmp_path / "a/b").iterdir()] == ["w.pth"]
    assert fetch(weights, tmp_path / "a/b", "net") == path
    assert server.asked == ["/good"]
    assert re.fullmatch(r"featx/\d+\.\d+\.\d+\S*", server.agents[0])
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) > 1


def test_a_server_that_does_not_say_how_much(server, tmp_path):
    server.pages["/good"].length = None
    seen = []
    fetch(_weights(f"{server.url}/good"), tmp_path, "net", lambda done, total: seen.append((done, total)))
    assert seen == []


REFUSALS = {
    "another file": (
        Page(b"<html>"),
        r"what http.*/x sent has another \(6 bytes\); try again, or get",
    ),
    "cut": (Page(CONTENT[:1000], length=len(CONTENT)), r"could not be \(it ended after 1,000 of 2,304,000 bytes\)"),
    "gone": (
        Page(status=404),
        r"of net must be downloaded once; .*/x could not be \(HTTP 404 Not Found\); on a mach",
    ),
    "forbidden": (Page(status=403), r"could not be \(HTTP 403 Forbidden\)"),
    "broken": (Page(status=500), r"could not be \(HTTP 500 Internal Server Error\)"),
    "limit, until": (
        Page(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000000"}),
        r"\(HTTP 403: too many requests from this address; it answers again at 22:13 UTC\)",
    ),
    "limit, for": (
        Page(status=429, headers={"Retry-After": "30"}),
        r"HTTP 429: too many .* it answers again in 30 s\)",
    ),
    "limit": (Page(status=429), r"HTTP 429: too many .* it answers again later\)"),
    "chunks": (
        Page(b"5\r\nabc", headers={"Transfer-Encoding": "chunked"}, length=None),
        r"could not be \((IncompleteRead|it ended)",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_bad_download_leaves_nothing(server, tmp_path, what):
    server.pages["/x"], match = REFUSALS[what]
    with pytest.raises(WeightsError, match=match):
        fetch(_weights(f"{server.url}/x"), tmp_path, "net")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_speaks_something_else(server, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise http.client.BadStatusLine("SSH-2.0")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    with pytest.raises(WeightsError, match=r"could not be \(SSH-2.0\)"):
        fetch(_weights(f"{server.url}/good"), tmp_path, "net")


def test_no_network(tmp_path):
    match = (
        r"could not be \(.*refused\); on a machine that has a network, run `featx networks fetch net --to DIR` and "
        rf"copy what is in DIR to {tmp_path}, or give --weights net=FILE"
    )
    with pytest.raises(WeightsError, match=match):
        fetch(_weights("http://127.0.0.1:1/x"), tmp_path, "net")


def test_an_address_of_another_kind(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"could not be \(its address must begin with https://\)"):
        fetch(_weights(f"file://{tmp_path / 'secret'}"), tmp_path, "net")


def test_a_damaged_file_in_the_cache(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"cut")
    with pytest.raises(
        WeightsError, match=r"the file .*w.pth has another \(3 bytes\); delete it to download it again"
    ):
        fetch(_weights("http://127.0.0.1:1/x"), tmp_path, "net")


def test_digests(tmp_path):
    """The two published forms, computed independently: sha256sum, and git hash-object."""
    (tmp_path / "f").write_bytes(b"what is up, doc?")
    assert has_digest(tmp_path / "f", "git-blob-sha1:bd9dbf5aae1a3862dd1526723246b20206e5fc37")
    assert has_digest(tmp_path / "f", "sha256:" + hashlib.sha256(b"what is up, doc?").hexdigest()[:8])
    assert not has_digest(tmp_path / "f", "git-blob-sha1:" + "0" * 40)


# --- GitHub's blobs -------------------------------------------------------------------------------------------


def test_a_blob_of_the_api_is_unwrapped(server, tmp_path):
    sha = blob_sha1(CONTENT)
    page = f"/repos/a/b/git/blobs/{sha}"
    server.pages[page] = Page(blob_json(CONTENT))
    path = fetch(_weights(server.url + page, f"git-blob-sha1:{sha}", "a.h5"), tmp_path, "net")
    assert path.read_bytes() == CONTENT
    server.pages[page] = Page(CONTENT)  # asked for raw bytes, the API sends them
    assert fetch(_weights(server.url + page, f"git-blob-sha1:{sha}", "b.h5"), tmp_path, "net").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "body, match",
    [
        (blob_json(CONTENT[1:]), r"the digest git-blob-sha1:.* sent has another \(2,303,999 bytes\)"),
        (b'{"message": "moved"}', r"sent has another \(20 bytes\)"),
        (b'{"content": "abc", "encoding": "base64"}', r"could not be \(its base64 is damaged: "),
        (b"[]", r"sent has another \(2 bytes\)"),
    ],
)
def test_a_blob_that_is_another_one(server, tmp_path, body, match):
    sha = blob_sha1(CONTENT)
    server.pages[f"/git/blobs/{sha}"] = Page(body)
    with pytest.raises(WeightsError, match=match):
        fetch(_weights(f"{server.url}/git/blobs/{sha}", f"git-blob-sha1:{sha}"), tmp_path, "net")
    assert list(tmp_path.iterdir()) == []


def test_json_from_elsewhere_is_a_file_like_any_other(server, tmp_path):
    body = blob_json(CONTENT)
    server.pages["/x.json"] = Page(body)
    weights = _weights(f"{server.url}/x.json", "sha256:" + hashlib.sha256(body).hexdigest())
    assert fetch(weights, tmp_path, "net").read_bytes() == body


# --- a digest that is not known beforehand --------------------------------------------------------------------


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag"])
@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"'])
def test_the_entity_tag_is_checked_where_no_digest_is_known(server, tmp_path, header, form):
    server.pages["/good"] = Page(CONTENT, headers={header: form.format(SHA256)})
    server.pages["/bad"] = Page(CONTENT, headers={header: form.format("0" * 64)})
    assert fetch(_weights(f"{server.url}/good", ""), tmp_path, "net").is_file()
    with pytest.raises(WeightsError, match="the digest sha256:0{64}; what .*/bad sent has another"):
        fetch(_weights(f"{server.url}/bad", "", "other"), tmp_path, "net")


def test_the_tag_of_a_redirection_counts(server, tmp_path):
    """As on Hugging Face: it names the file's sha256, and the storage behind it has tags of its own."""
    server.pages["/storage"] = Page(CONTENT, headers={"ETag": '"' + "1" * 64 + '"'})
    for name, tag in (("/good-one", SHA256), ("/bad-one", "0" * 64)):
        moved = {"Location": f"{server.url}/storage", "X-Linked-Etag": f'"{tag}"'}
        server.pages[name] = Page(status=302, headers=moved)
    assert fetch(_weights(f"{server.url}/good-one", ""), tmp_path, "net").is_file()
    with pytest.raises(WeightsError, match="the digest sha256:0{64}"):
        fetch(_weights(f"{server.url}/bad-one", "", "other"), tmp_path, "net")


def test_a_tag_of_another_kind_says_nothing(server, tmp_path):
    server.pages["/x"] = Page(CONTENT, headers={"ETag": '"abc-12"'})
    path = fetch(_weights(f"{server.url}/x", ""), tmp_path, "net")
    assert path.read_bytes() == CONTENT
    path.write_bytes(b"nobody knows")
    assert fetch(_weights("http://127.0.0.1:1/x", ""), tmp_path, "net") == path


def test_a_known_digest_counts_more_than_a_tag(server, tmp_path):
    server.pages["/x"] = Page(CONTENT, headers={"ETag": '"' + "0" * 64 + '"'})
    assert fetch(_weights(f"{server.url}/x"), tmp_path, "net").is_file()


# --- the cache ------------------------------------------------------------------------------------------------


def test_what_is_in_the_cache(tmp_path):
    plain, pickled = _weights("u", file="a.pth"), _weights("u", file="a.p")
    assert converted_path(plain, tmp_path) is None
    assert converted_path(_weights("u", file="a.safetensors"), tmp_path) is None
    assert converted_path(pickled, tmp_path) == tmp_path / "a.p.safetensors"
    assert converted_path(_weights("u", file="a.h5"), tmp_path) == tmp_path / "a.h5.safetensors"
    assert find_cached(plain, tmp_path) is find_cached(pickled, tmp_path) is None
    for name in ("a.pth", "a.p"):
        (tmp_path / name).touch()
    assert find_cached(plain, tmp_path) == tmp_path / "a.pth"
    assert find_cached(pickled, tmp_path) == tmp_path / "a.p"
    (tmp_path / "a.p.safetensors").touch()
    assert find_cached(pickled, tmp_path) == tmp_path / "a.p.safetensors"


# --- weights that are part of featx -----------------------------------------------------------------------------


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A package of ours in the place of featx.networks, with one file of weights."""
    (tmp_path / "package/bundled").mkdir(parents=True)
    path = tmp_path / "package/bundled/w.safetensors"
    path.write_bytes(CONTENT)
    monkeypatch.setattr("featx.networks.download.files", lambda _: tmp_path / "package")
    return path


def _own(digest=f"sha256:{SHA256}"):
    return Weights("package:w.safetensors", "w.safetensors", digest, "BSD-3-Clause")


def test_weights_of_the_package_are_read_where_they_lie(bundled, tmp_path):
    cache = tmp_path / "cache"
    assert find_cached(_own(), cache) == bundled
    assert fetch(_own(), cache, "net") == bundled
    assert not cache.exists()


def test_weights_of_the_package_are_verified_like_all_others(bundled, tmp_path):
    with pytest.raises(
        WeightsError, match=r"digest sha256:0000; the file .*w.safetensors has another .*install feat"
    ):
        fetch(_own("sha256:0000"), tmp_path, "net")


def test_a_package_without_its_weights(bundled, tmp_path):
    bundled.unlink()
    assert find_cached(_own(), tmp_path) is None
    with pytest.raises(
        WeightsError, match="weights of net must be part of featx; .* is not there; install featx aga"
    ):
        fetch(_own(), tmp_path, "net")
