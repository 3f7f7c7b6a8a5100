"""Weights: downloads against a server on 127.0.0.1, verification, every refusal."""

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from featx.errors import WeightsError
from featx.networks import get_network
from featx.networks.weights import fetch, has_digest, load_network, read_checkpoint, tensors_sha256

SHEET = get_network("squeezenet1_0.imagenet")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.save(load_network(SHEET, "random:5", folder).network.state_dict(), folder / "squeeze.pth")
    return folder / "squeeze.pth"


@pytest.fixture
def server(checkpoint):
    """Serves the checkpoint under /good, half of it under /short, a page under /page; counts its requests."""
    content = checkpoint.read_bytes()
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = {"/good": content, "/short": content[: len(content) // 2], "/page": b"<html>"}.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(content) if self.path == "/short" else len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()
        thread.join()


def _sheet(url, checkpoint, **facts):
    digest = "sha256:" + hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]
    return replace(SHEET, weights=replace(SHEET.weights, **{"url": url, "digest": digest, **facts}))


def test_official_weights_are_downloaded_once_and_used_offline_after_that(server, checkpoint, tmp_path):
    url, asked = server
    sheet = _sheet(f"{url}/good", checkpoint)
    seen = []
    first = load_network(sheet, "official", tmp_path / "cache", lambda done, total: seen.append((done, total)))
    again = load_network(_sheet("http://127.0.0.1:1/gone", checkpoint), "official", tmp_path / "cache")
    assert asked == ["/good"]
    assert seen[-1] == (checkpoint.stat().st_size,) * 2
    assert first.sha256 == again.sha256 == load_network(SHEET, "random:5", tmp_path).sha256
    assert (first.weights, first.tag) == ("official", "")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [SHEET.weights.file]


@pytest.mark.parametrize(
    "page, match",
    [
        ("/page", "what .*/page sent has another"),
        ("/short", "it ended after|ended early|IncompleteRead"),
        ("/none", "could not be .*Not Found.*copy that file to .*--weights squeezenet1_0.imagenet=FILE"),
    ],
)
def test_a_bad_download_leaves_nothing(server, checkpoint, tmp_path, page, match):
    url, _ = server
    with pytest.raises(WeightsError, match=match):
        load_network(_sheet(url + page, checkpoint), "official", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_network(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="on a machine that has a network, copy that file to"):
        load_network(_sheet("http://127.0.0.1:1/x", checkpoint), "official", tmp_path)


def test_a_damaged_file_in_the_cache(checkpoint, tmp_path):
    sheet = _sheet("http://127.0.0.1:1/x", checkpoint)
    (tmp_path / sheet.weights.file).write_bytes(b"cut")
    with pytest.raises(WeightsError, match="delete it to download it again"):
        fetch(sheet.weights, tmp_path, sheet.name)


def test_digests(tmp_path):
    """The two published forms, computed independently: sha256sum, and git hash-object."""
    (tmp_path / "f").write_bytes(b"what is up, doc?")
    assert has_digest(tmp_path / "f", "git-blob-sha1:bd9dbf5aae1a3862dd1526723246b20206e5fc37")
    assert has_digest(tmp_path / "f", "sha256:" + hashlib.sha256(b"what is up, doc?").hexdigest()[:8])
    assert not has_digest(tmp_path / "f", "git-blob-sha1:" + "0" * 40)


def test_a_local_file_with_the_official_digest_is_official(checkpoint, tmp_path):
    assert load_network(_sheet("x", checkpoint), str(checkpoint), tmp_path).weights == "official"
    other = load_network(SHEET, str(checkpoint), tmp_path)
    assert (other.weights, other.tag) == ("file:squeeze.pth", f"file-{other.sha256[:8]}")


def test_random_weights_follow_their_seed_and_leave_the_global_one_alone(tmp_path):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    shas = [load_network(SHEET, f"random:{seed}", tmp_path).sha256 for seed in (0, 0, 1)]
    assert shas[0] == shas[1] != shas[2]
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("spec", ["random:", "random:x", "random:-1", "random:9999999999999999999999"])
def test_a_bad_seed(tmp_path, spec):
    with pytest.raises(WeightsError, match="random:SEED with a whole number"):
        load_network(SHEET, spec, tmp_path)


def test_checkpoint_forms(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    prefixed = {f"module.{name}": values for name, values in state.items()}
    for at, form in enumerate((state, {"state_dict": prefixed, "epoch": 3}, {"model": state}, prefixed)):
        torch.save(form, tmp_path / f"{at}.pth")
        assert tensors_sha256(read_checkpoint(tmp_path / f"{at}.pth")) == tensors_sha256(state)
    save_file(state, tmp_path / "w.safetensors")
    assert tensors_sha256(read_checkpoint(tmp_path / "w.safetensors")) == tensors_sha256(state)


class _Evil:
    def __reduce__(self):
        return (print, ("unpickled!",))


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"state_dict": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="must be a checkpoint of tensors"):
        read_checkpoint(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.p"])
@pytest.mark.parametrize("content", [b"", b"<html>", bytes(100)])
def test_a_file_that_is_no_checkpoint(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="must be a checkpoint of tensors"):
        read_checkpoint(tmp_path / name)


def test_a_checkpoint_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="must hold a state dict; .* holds dict"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="no.pth does not; give official, random:SEED"):
        load_network(SHEET, str(tmp_path / "no.pth"), tmp_path)


def test_weights_of_another_network(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match=r"fit resnet18.imagenet.* missing \(such as conv1.weight\), 52 unknown"):
        load_network(get_network("resnet18.imagenet"), str(checkpoint), tmp_path)
    state = torch.load(checkpoint, weights_only=True)
    state["features.0.weight"] = torch.zeros(2, 2)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"are 1 of another shape \(such as features.0.weight\)"):
        load_network(SHEET, str(tmp_path / "a.pth"), tmp_path)


@pytest.mark.data
def test_the_real_imagenet_weights(data, tmp_path):
    loaded = load_network(SHEET, str(data / "weights/squeezenet1_0_imagenet.pth"), tmp_path)
    assert loaded.tag.startswith("file-")


@pytest.mark.data
def test_a_real_dataparallel_checkpoint(data):
    tensors = read_checkpoint(data / "weights/dataparallel_keys_resnet20.th")
    assert "conv1.weight" in tensors
    assert not any(name.startswith("module.") for name in tensors)
