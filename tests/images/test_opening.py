"""Bytes from files, members of archives and URLs; what is wrong with them, by reason code."""

import contextlib
import gzip
import importlib.util
import io
import re
import struct
import sys
import threading
import time
import warnings
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from featx.errors import DependencyError, ImageError
from featx.images import opening
from featx.images.image import Image, shown
from featx.images.opening import check_openable, checksum, file_name, filesystem, list_members, located, read_bytes
from featx.images.volume import MNI152_2MM, grid_affine, read_image, write_volume
from tests.serving import Page, serve

MEMBER = "T1/T1_brain_to_MNI.nii.gz"
BODY = bytes(range(256)) * 40
web = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="fsspec opens http with aiohttp")


def _zip(path, members, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


@pytest.fixture
def bulk(tmp_path):
    return _zip(tmp_path / "1000012_20252_2_0.zip", {"T1/T1.nii.gz": b"head", MEMBER: BODY, "T1/empty/": b""})


@pytest.fixture
def memory():
    """A function that puts bytes at memory:// URLs."""
    import fsspec

    fs = fsspec.filesystem("memory")

    def put(name, body):
        fs.pipe(f"/{name}", body)
        return f"memory://{name}"

    yield put
    fs.store.clear()


def _refused(code, match, call, *args):
    with pytest.raises(ImageError, match=match) as refused:
        call(*args)
    assert refused.value.code == code


# --- files and archives ---------------------------------------------------------------------------------------


def test_a_member_is_read_in_place(bulk, tmp_path):
    (tmp_path / "a.nii").write_bytes(BODY)
    assert read_bytes(tmp_path / "a.nii") == read_bytes(bulk, MEMBER) == BODY
    assert list_members(bulk) == ["T1/T1.nii.gz", MEMBER]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1000012_20252_2_0.zip", "a.nii"]


def test_an_image_in_an_archive_is_the_image(tmp_path):
    data = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.int16)
    write_volume(tmp_path / "a.nii.gz", data, grid_affine(MNI152_2MM))
    archive = _zip(tmp_path / "1.zip", {MEMBER: (tmp_path / "a.nii.gz").read_bytes()})
    volume = read_image(Image("1", "1", "", "", archive, MEMBER))
    assert (volume.stored == data).all()
    assert (volume.affine == grid_affine(MNI152_2MM)).all()


@pytest.mark.parametrize("member", ["", MEMBER])
def test_a_file_that_is_not_there(tmp_path, member):
    _refused(
        "missing-file",
        "must be a readable file; .*no.zip is not .No such file",
        read_bytes,
        tmp_path / "no.zip",
        member,
    )


def test_a_member_that_is_not_there(bulk):
    _refused(
        "missing-member",
        "must hold the image; .*2_0.zip holds no T1/x.nii; index again",
        read_bytes,
        bulk,
        "T1/x.nii",
    )


def test_no_archive_and_half_of_one(bulk, tmp_path):
    (tmp_path / "page.zip").write_bytes(b"<html>please log in</html>")
    _refused("unreadable", "must be a whole zip file; .*page.zip is not", read_bytes, tmp_path / "page.zip", MEMBER)
    bulk.write_bytes(bulk.read_bytes()[:-30])
    _refused("unreadable", "must be a whole zip file", list_members, bulk)


def test_damage_inside_a_member(tmp_path):
    path = _zip(tmp_path / "1.zip", {MEMBER: BODY}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    _refused("unreadable", "whole zip file; .* is not .Bad CRC-32", read_bytes, path, MEMBER)


def _patch_directory(path, offset, value):
    """Overwrite a 16-bit field of the first entry of the list at an archive's end."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, raw.index(b"PK\x01\x02") + offset, value)
    path.write_bytes(raw)


def test_an_encrypted_member(tmp_path):
    path = _zip(tmp_path / "1.zip", {MEMBER: BODY})
    _patch_directory(path, 8, 1)  # flags
    _refused("unreadable", "must not be encrypted; T1/.* in .*1.zip is; unpack it", read_bytes, path, MEMBER)


def test_a_compression_that_python_does_not_know(tmp_path):
    path = _zip(tmp_path / "1.zip", {MEMBER: BODY})
    _patch_directory(path, 10, 9)  # Deflate64, of the Windows Explorer
    _refused("unreadable", "whole zip file; .* is not .That compression method", read_bytes, path, MEMBER)


def test_a_member_that_announces_less_than_it_holds_is_not_read_on(tmp_path):
    path = _zip(tmp_path / "1.zip", {MEMBER: bytes(100_000)})
    _patch_directory(path, 24, 1000)  # lower half of the size
    _refused("unreadable", "Bad CRC-32", read_bytes, path, MEMBER)


def test_a_bomb(bulk, monkeypatch):
    monkeypatch.setattr(opening, "MOST_MEMBER_BYTES", len(BODY) - 1)
    _refused("out-of-memory", "must have at most 0 GiB; T1/.* announces 0.0 GiB", read_bytes, bulk, MEMBER)
    assert read_bytes(bulk, "T1/T1.nii.gz") == b"head"


def test_a_name_in_an_archive_that_is_no_text(tmp_path):
    path = _zip(tmp_path / "1.zip", {"T1/ä.nii": BODY})
    raw = bytearray(path.read_bytes())
    raw[raw.index("ä".encode(), raw.index(b"PK\x01\x02"))] = 0xFF
    path.write_bytes(raw)
    for call in (list_members, lambda path: check_openable(Image("a", "a", "", "", path, MEMBER))):
        _refused("unreadable", "must be a whole zip file; .*1.zip is not .*codec can't decode", call, path)


def test_every_damage_of_an_archive_is_an_image_error_or_harmless(tmp_path):
    whole = _zip(tmp_path / "1.zip", {MEMBER: BODY[:500], "T1/é.txt": b"x" * 99}).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole) - 260, len(whole), 2):
            damaged[at] = rng.integers(256)
        (tmp_path / "1.zip").write_bytes(damaged)
        for call in (list_members, lambda path: read_bytes(path, MEMBER)):
            with contextlib.suppress(ImageError):
                call(tmp_path / "1.zip")


def test_the_checksum_of_a_member(bulk):
    assert checksum(bulk, MEMBER) == (zlib.crc32(BODY), len(BODY))
    _refused("missing-member", "holds no x", checksum, bulk, "x")


def test_a_name_twice_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "1.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a duplicate name
        for name, body in ((MEMBER, BODY), (MEMBER, BODY), ("b.nii", b"1"), ("b.nii", b"2")):
            archive.writestr(name, body)
    assert read_bytes(tmp_path / "1.zip", MEMBER) == BODY  # the same file twice
    _refused("unreadable", "holds 2 that differ under b.nii; unpack", read_bytes, tmp_path / "1.zip", "b.nii")


def test_a_disk_that_fails_in_mid_archive(bulk, monkeypatch):
    """The list at its end can be read, what lies before it cannot."""

    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() == 0:
                raise OSError(5, "Input/output error")
            return super().read(size)

    raw = bulk.read_bytes()
    monkeypatch.setattr(Path, "open", lambda self, mode: Failing(raw))
    _refused("unreadable", "readable to its end; .* is not .*Input/output", read_bytes, bulk, "T1/T1.nii.gz")


@pytest.mark.parametrize(
    "path, member, mask, code",
    [
        ("full.nii", "", "full.nii", ""),
        ("empty.nii", "", "", "truncated"),
        ("full.nii", "", "no.nii", "missing-file"),
        ("no.nii", "", "", "missing-file"),
        ("1.zip", "a.nii", "", ""),
        ("1.zip", "empty.nii", "", "truncated"),
        ("1.zip", "b.nii", "", "missing-member"),
        ("full.nii", "b.nii", "", "unreadable"),
    ],
)
def test_what_can_be_opened_is_seen_without_reading(tmp_path, path, member, mask, code):
    (tmp_path / "full.nii").write_bytes(b"x")
    (tmp_path / "empty.nii").touch()
    _zip(tmp_path / "1.zip", {"a.nii": b"x", "empty.nii": b""})
    image = Image("a", "a", "", "", tmp_path / path, member, str(tmp_path / mask) if mask else "")
    if code:
        _refused(code, "must", check_openable, image)
    else:
        check_openable(image)


# --- URLs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, member, name",
    [
        ("/a/b.nii.gz", "", "b.nii.gz"),
        ("b.nii", "", "b.nii"),
        ("https://h/a/b.nii.gz?sig=c.txt&x=/y", "", "b.nii.gz"),
        ("s3://bucket/what?.nii.gz", "", "what?.nii.gz"),
        ("https://h/1.zip?x=1", "T1/b.nii", "b.nii"),
    ],
)
def test_the_name_of_a_file(path, member, name):
    assert file_name(path, member) == name


def test_places():
    assert located("/a/b::c.nii") == (Path("/a/b::c.nii"), "")
    assert located("file:///a/b?c.nii") == (Path("/a/b?c.nii"), "")
    assert located("zip://x/y.nii::/a/1.zip") == (Path("/a/1.zip"), "x/y.nii")
    assert located("zip://x/y.nii::file:///a/1.zip") == (Path("/a/1.zip"), "x/y.nii")
    assert located("s3://b/1.nii") == ("s3://b/1.nii", "")


@pytest.mark.parametrize(
    "url, match",
    [
        ("zip://a.nii", "must be zip://MEMBER::ARCHIVE; got zip://a.nii::;"),
        ("zip://a.nii::zip://b.zip::/c.zip", "must be zip://MEMBER::ARCHIVE"),
        ("zip://a.nii::simplecache::https://h/1.zip", "must be zip://MEMBER::ARCHIVE"),
        ("git://repository/a.nii", "only fetches; got git://repository/a.nii; known are 'abfs', "),
        ("reference://x.json", "only fetches; got reference"),
        ("ssh://host/a.nii", "copy the file to one of them"),
        ("zip://a.nii::dask://h/1.zip", "only fetches; got dask"),
    ],
)
def test_urls_that_are_not_opened(url, match):
    _refused("remote", match, located, url)


@pytest.mark.parametrize("url", ["git://repository/a.nii", "simplecache::memory://a.nii"])
def test_nor_where_the_index_names_them(url):
    """A row of a table of one's own may hold anything."""
    _refused("remote", "only fetches", read_bytes, url)
    _refused("remote", "only fetches", filesystem, url)


def test_a_url_and_a_member_behind_one(memory, bulk):
    assert read_bytes(memory("a/b.nii", BODY)) == BODY
    archive = memory("1000012_20252_2_0.zip", bulk.read_bytes())
    assert read_bytes(archive, MEMBER) == BODY
    assert list_members(archive) == ["T1/T1.nii.gz", MEMBER]
    _refused("missing-member", "holds no x.nii", read_bytes, archive, "x.nii")
    check_openable(Image("a", "a", "", "", "memory://a/b.nii"))
    check_openable(Image("a", "a", "", "", archive, MEMBER))
    for gone in ("memory://no.nii", memory("empty.nii", b"")):
        with pytest.raises(ImageError, match=f"{gone} is (not|empty)"):
            check_openable(Image("a", "a", "", "", gone))


def test_a_url_where_nothing_is():
    match = "let through; memory://no.zip is not .*; mend the URL"
    for member in ("", MEMBER):
        _refused("remote", match, read_bytes, "memory://no.zip", member)


@pytest.mark.parametrize("package, url", [("fsspec.core", "s3://bucket/a.nii"), ("s3fs", "s3://bucket/a.nii")])
def test_a_package_that_is_not_installed(monkeypatch, package, url):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=r"for s3://bucket/a.nii one is not installed .* 'featx\[remote\]'"):
        filesystem(url)
    _refused("remote", "pip install", read_bytes, url)


@web
def test_a_web_address():
    with serve() as server:
        server.pages |= {"/a.nii?sig=1": Page(BODY), "/half.nii": Page(BODY[:100], length=5000)}
        server.pages["/500.nii"] = Page(b"sorry", status=500)
        assert read_bytes(f"{server.url}/a.nii?sig=1") == BODY
        _refused("remote", r"/no.nii is not \(not found\); mend the URL", read_bytes, f"{server.url}/no.nii")
        _refused("remote", "is not .500", read_bytes, f"{server.url}/500.nii")
        _refused("remote", "half.nii is not", read_bytes, f"{server.url}/half.nii")
        check_openable(Image("a", "a", "", "", f"{server.url}/a.nii?sig=1"))
        _refused("remote", "no.nii is not", check_openable, Image("a", "a", "", "", f"{server.url}/no.nii"))
    _refused("remote", "is not .*[Cc]onnect", read_bytes, f"{server.url}/a.nii")


@pytest.mark.parametrize(
    "url, wanted",
    [
        ("http://alice:s3cret@host:80/a/b.nii.gz?sig=s3cret#x", "http://host:80/a/b.nii.gz?..."),
        ("zip://T1/b.nii::https://u:s3@cret@host/1.zip?k=s3cret", "zip://T1/b.nii::https://host/1.zip?..."),
        ("ftp://alice@host/a.nii", "ftp://host/a.nii"),
        ("s3://bucket/who@home?.nii.gz", "s3://bucket/who@home?.nii.gz"),
        ("/data/a@b?c.nii", "/data/a@b?c.nii"),
    ],
)
def test_what_is_shown_of_a_url(url, wanted):
    assert shown(url) == wanted


@web
def test_no_sentence_shows_what_opens_a_url(bulk):
    with serve() as server:
        signed = "?X-Amz-Signature=s3cret"
        server.pages |= {f"/500.nii{signed}": Page(b"sorry", status=500), f"/page.zip{signed}": Page(b"<html>")}
        server.pages |= {f"/1.zip{signed}": Page(bulk.read_bytes()), f"/empty.nii{signed}": Page(b"")}
        host = server.url.removeprefix("http://")
        for name, member, code in (
            ("500.nii", "", "remote"),
            ("no.nii", "", "remote"),
            ("page.zip", MEMBER, "unreadable"),
            ("1.zip", "no.nii", "missing-member"),
        ):
            with pytest.raises(ImageError) as refused:
                read_bytes(f"http://alice:s3cret@{host}/{name}{signed}", member)
            assert refused.value.code == code
            assert f"http://{host}/{name}?... " in str(refused.value)
            assert "s3cret" not in str(refused.value)
            assert "alice" not in str(refused.value)


@web
def test_an_archive_of_a_server_that_sends_only_whole_files(bulk):
    with serve() as server:
        server.pages["/1.zip"] = Page(bulk.read_bytes())
        assert read_bytes(f"{server.url}/1.zip", MEMBER) == BODY
        _refused("missing-member", "holds no x", read_bytes, f"{server.url}/1.zip", "x")
        _refused("remote", "no.zip is not", read_bytes, f"{server.url}/no.zip", "x")


class _Ranges(BaseHTTPRequestHandler):
    body = b""
    sent: ClassVar[list[int]] = []

    def do_HEAD(self):
        self.answer(b"", len(self.body))

    def do_GET(self):
        start, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        part = self.body[start : end + 1]
        self.sent.append(len(part))
        self.answer(part, len(part), f"bytes {start}-{start + len(part) - 1}/{len(self.body)}")

    def answer(self, part, length, span=""):
        if self.path == "/silent.nii":
            time.sleep(0.5)
        self.send_response(206 if span else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args):
        pass


@pytest.fixture
def ranges():
    _Ranges.sent.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ranges) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@web
def test_of_a_remote_archive_little_more_than_the_member_is_fetched(tmp_path, ranges, monkeypatch):
    monkeypatch.setattr(opening, "_BLOCK_BYTES", 1 << 14)
    noise = np.random.default_rng(0).bytes(3_000_000)
    _Ranges.body = _zip(tmp_path / "1.zip", {"T1/other.nii": noise, MEMBER: BODY, "T1/more.nii": noise}).read_bytes()
    assert read_bytes(f"{ranges}/1.zip", MEMBER) == BODY
    assert sum(_Ranges.sent) < 150_000 < len(_Ranges.body)
    assert len(_Ranges.sent) <= 3


@web
def test_a_silent_server_is_given_up(ranges, monkeypatch):
    monkeypatch.setattr(opening, "SILENCE_S", 0.1)
    start = time.monotonic()
    _refused("remote", "silent.nii is not", read_bytes, f"{ranges}/silent.nii")
    assert time.monotonic() - start < 5


@web
def test_an_image_from_the_web(tmp_path):
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_volume(tmp_path / "a.nii.gz", data, grid_affine(MNI152_2MM))
    packed = (tmp_path / "a.nii.gz").read_bytes()
    with serve() as server:
        server.pages |= {"/a.nii.gz": Page(packed), "/page.nii.gz": Page(b"<html>log in</html>")}
        assert (read_image(Image("a", "a", "", "", f"{server.url}/a.nii.gz")).stored == data).all()
        server.pages["/a.nii.gz?sig=1"] = Page(packed)
        signed = Image("a", "a", "", "", f"{server.url}/a.nii.gz?sig=1", mask=f"{server.url}/a.nii.gz")
        assert (read_image(signed).stored == data).all()
        _refused("unreadable", "error page", read_image, Image("b", "b", "", "", f"{server.url}/page.nii.gz"))
    assert gzip.decompress(packed)[352:] == data.tobytes(order="F")
