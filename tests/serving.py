"""A web server on 127.0.0.1 for tests of downloads, and a tiny network whose weights it can serve."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from featx.networks import get_network
from featx.networks.sheet import Network, Tap, Weights


@dataclass
class Page:
    """What is sent for a path; `length` is the Content-Length that is claimed, None for none."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = -1


@dataclass
class Server:
    """A running server: its address, its pages by path, the requests it had."""

    url: str
    pages: dict[str, Page]
    asked: list[str]
    agents: list[str]


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A server whose pages can be changed while it runs; what has no page is 404."""
    server = Server("", {}, [], [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            server.agents.append(self.headers["User-Agent"])
            page = server.pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if page.length is not None:
                self.send_header("Content-Length", str(len(page.body) if page.length == -1 else page.length))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        server.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield server
        httpd.shutdown()
        thread.join()


def blob_json(content: bytes) -> bytes:
    """What GitHub's blob API sends: base64 in lines of 60 characters, within JSON."""
    text = base64.b64encode(content).decode()
    lines = "".join(text[at : at + 60] + "\n" for at in range(0, len(text), 60))
    return json.dumps(
        {"sha": blob_sha1(content), "size": len(content), "content": lines, "encoding": "base64"}
    ).encode()


def blob_sha1(content: bytes) -> str:
    """As git hash-object gives it."""
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


class Tiny(nn.Module):
    """A convolution, a batch norm with its statistics, a dense layer, and a tensor of zero spread."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, width, 3)
        self.norm = nn.BatchNorm3d(width)
        self.top = nn.Linear(width, 40)
        nn.init.constant_(self.top.bias, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, I, J, K) to (N, 40)."""
        return self.top(self.norm(self.conv(x)).mean((2, 3, 4)))


def halved(path: Path, sheet: Network) -> dict[str, Tensor]:
    """A reader of another form: a file of float32 numbers, in the order of the network's tensors, all halved."""
    numbers = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.float32) / 2
    wanted = Tiny(**sheet.arguments).state_dict()
    sizes = [values.numel() for values in wanted.values()]
    parts = numbers[: sum(sizes)].split(sizes)
    return {name: part.reshape(wanted[name].shape) for name, part in zip(wanted, parts, strict=True)}


def tiny_sheet(weights: Weights | None = None, *, name: str = "tiny.made", reads: str = "") -> Network:
    """The sheet of a tiny network on the 1 mm grid."""
    return replace(
        get_network("sfcn.ukb_age"),
        name=name,
        family="Tiny",
        architecture="tests.serving:Tiny",
        arguments=MappingProxyType({"width": 5}),
        weights=weights,
        taps={"conv": Tap("conv", 5), "top": Tap("top", 40, positions=False)},
        default_taps=("top",),
        reads=f"tests.serving:{reads}" if reads else "",
        n_parameters=5 * 27 + 5 + 10 + 5 * 40 + 40,
    )


def tiny_state(seed: int = 0) -> dict[str, Tensor]:
    """A state dict for it with statistics that are not those of a new batch norm."""
    generator = torch.Generator().manual_seed(seed)
    network = Tiny()
    nn.init.normal_(network.conv.weight, 0.3, 2.0, generator=generator)
    nn.init.normal_(network.norm.weight, 1.0, 0.2, generator=generator)
    nn.init.normal_(network.top.weight, -1.0, 0.5, generator=generator)
    nn.init.constant_(network.conv.bias, 0.25)
    state = {name: values.clone() for name, values in network.state_dict().items()}
    state["norm.running_mean"] = torch.arange(5.0)
    state["norm.running_var"] = torch.arange(1.0, 6.0)
    return state


def weights_of(content: bytes, url: str, file: str) -> Weights:
    """Facts of a published file."""
    return Weights(url, file, f"sha256:{hashlib.sha256(content).hexdigest()}", "MIT", len(content))
