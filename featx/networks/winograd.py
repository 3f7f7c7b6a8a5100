"""3D convolutions plane by plane on a CPU: half the products, and no activation larger than the caches (torch).

A 3x3x3 convolution with stride 1 is a sum of 2D convolutions of neighbouring planes. Four output planes take twelve
of those; by Winograd's F(4, 3) along the first axis they take six, of sums of six input planes (Lavin and Gray 2016,
arXiv:1509.09308). In float32 that rounds more than a plain sum does: the largest error of a layer, relative to its
largest value, was 2.8e-6 against 0.9e-6 with 32 channels and 8.3e-6 against 4.4e-7 with 256; of SFCN's pooled
features 2e-7. Max pooling and ReLU follow while the planes are in the cache, so that the full activation, hundreds of
MB in a first block, is never written.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as functions

# From the weights of three planes to those of the six sums.
_TURN = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_FEWEST_CHANNELS = 16
_VALUES_AT_ONCE = 600_000  # of one sum of planes: six of them, and what they give, stay in the caches (measured)
_PER_ROUND = 1e8  # operations in the time that the small steps of a round take on their own


def pays(length: int, channels: tuple[int, int], plane: tuple[int, int]) -> bool:
    """Whether six sums are faster than twelve planes: not where the last tile is mostly empty, or all is small.

    Parameters
    ----------
    length : int
        Output planes.
    channels, plane : tuple of 2 int
        In and out; height and width.

    Examples
    --------
    >>> pays(80, (32, 64), (96, 80)), pays(5, (256, 256), (6, 5)), pays(2, (512, 512), (7, 7))
    (True, False, False)
    """
    tiles = -(-length // 4)
    rounds = -(-tiles // tiles_at_once(max(channels), plane))
    saved = (0.8 * 3 * length - 6 * tiles) * 18 * channels[0] * channels[1] * plane[0] * plane[1]
    return min(channels) >= _FEWEST_CHANNELS and saved > _PER_ROUND * rounds


def tiles_at_once(channels: int, plane: tuple[int, int]) -> int:
    """Tiles of four output planes that are worked on together.

    Examples
    --------
    >>> tiles_at_once(64, (96, 80)), tiles_at_once(256, (24, 20))
    (1, 4)
    """
    return max(1, _VALUES_AT_ONCE // (channels * plane[0] * plane[1]))


def by_planes(network: nn.Module, once: Collection[int]) -> int:
    """Put `PlaneConvolution` in the place of the 3x3x3 convolutions of a network on the CPU, in place.

    In a `Sequential`, the max pooling (of 2) and the ReLU behind one become part of it.

    Parameters
    ----------
    once : collection of int
        `id` of the modules that may be replaced: they are used in one place, and nobody reads them.

    Returns
    -------
    int
        How many convolutions were replaced.
    """
    count = 0
    for parent in list(network.modules()):
        children = [(name, child) for name, child in parent.named_children()]
        in_order = type(parent).forward is nn.Sequential.forward
        for at, (name, child) in enumerate(children):
            if id(child) in once and _fits(child):
                taken = _taken(children[at + 1 :], once) if in_order else []
                kinds = [type(one) for _, one in taken]
                pooled, rectified = nn.MaxPool3d in kinds, nn.ReLU in kinds
                if child.in_channels == 1 and not pooled:
                    continue
                setattr(parent, name, PlaneConvolution(child, pooled=pooled, rectified=rectified))
                for behind, _ in taken:
                    setattr(parent, behind, nn.Identity())
                count += 1
    return count


def _fits(module: nn.Module) -> TypeGuard[nn.Conv3d]:
    return (
        isinstance(module, nn.Conv3d)
        and type(module).forward is nn.Conv3d.forward
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and module.kernel_size == (3, 3, 3)
        and (module.stride, module.padding, module.dilation) == ((1, 1, 1), (1, 1, 1), (1, 1, 1))
        and (module.groups, module.padding_mode) == (1, "zeros")
        and (module.in_channels == 1 or min(module.in_channels, module.out_channels) >= _FEWEST_CHANNELS)
    )


def _taken(behind: Sequence[tuple[str, nn.Module]], once: Collection[int]) -> list[tuple[str, nn.Module]]:
    """Pooling and ReLU that follow a convolution at once; what was folded into it may stand between."""
    taken: list[tuple[str, nn.Module]] = []
    for name, module in behind:
        if type(module) is nn.Identity and id(module) in once:
            continue
        free = id(module) in once and nn.ReLU not in [type(one) for _, one in taken]
        if not (free and (type(module) is nn.ReLU or (not taken and _halves(module)))):
            break
        taken.append((name, module))
    return taken


def _halves(module: nn.Module) -> bool:
    if type(module) is not nn.MaxPool3d:
        return False
    sizes = (module.kernel_size, module.stride, module.padding, module.dilation)
    plain = not (module.ceil_mode or module.return_indices)
    return plain and sizes in ((2, 2, 0, 1), ((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)))


class PlaneConvolution(nn.Module):
    """A 3x3x3 convolution, with the max pooling and the ReLU behind it, plane by plane where that pays.

    On another device, under autocast, or where the input is small, it does what the modules did that it stands for.

    Parameters
    ----------
    convolution : Conv3d
        With stride 1, and padding of 1 with zeros.
    pooled, rectified : bool
        Whether max pooling of 2 and ReLU are part of it.
    """

    weight: Tensor
    bias: Tensor | None
    turned: Tensor

    def __init__(self, convolution: nn.Conv3d, *, pooled: bool, rectified: bool) -> None:
        super().__init__()
        self.pooled, self.rectified = pooled, rectified
        weight = convolution.weight.detach()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())
        if convolution.in_channels == 1:
            turned = weight[:, 0]  # the three planes are channels
        else:
            turned = torch.einsum("kj,ocjhw->kochw", torch.tensor(_TURN, dtype=torch.float64), weight.double())
        channels_last = turned.float().movedim(-3, -1).contiguous().movedim(-1, -3)
        self.register_buffer("turned", channels_last, persistent=False)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        """Output for (N, C, I, J, K)."""
        if not self._suits(x):
            return self._plainly(x)
        shape = [length // 2 if self.pooled else length for length in x.shape[2:]]
        memory = torch.channels_last_3d
        output = torch.empty((len(x), len(self.weight), *shape), memory_format=memory)
        for one, out in zip(x.contiguous(memory_format=memory), output, strict=True):
            work, n_rounds, some = self._rounds(one, out.transpose(0, 1))
            _in_turn_or_in_threads(work, n_rounds, some)
        return output

    def _suits(self, x: Tensor) -> bool:
        out, into = self.weight.shape[:2]
        if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        if self.pooled and min(x.shape[2:]) < 2:
            return False
        return into == 1 or pays(x.shape[2], (into, out), (x.shape[3], x.shape[4]))

    def _plainly(self, x: Tensor) -> Tensor:
        x = functions.conv3d(x, self.weight, self.bias, padding=1)
        x = functions.max_pool3d(x, 2) if self.pooled else x
        return x.relu_() if self.rectified else x

    def _rounds(self, one: Tensor, into: Tensor) -> tuple[Callable[[int, int], None], int, int]:
        """What works on a run of tiles (of one channel: pairs of planes); how many there are; how many at once."""
        plane = (one.shape[2], one.shape[3])
        if len(one) == 1:
            neighbours = functions.pad(one[0], (0, 0, 0, 0, 1, 1)).unfold(0, 3, 1).permute(0, 3, 1, 2)
            return partial(self._pairs, neighbours, into), len(into), tiles_at_once(len(self.weight), plane)
        some = tiles_at_once(max(self.weight.shape[:2]), plane)
        return partial(self._tiles, one.transpose(0, 1), into), -(-one.shape[1] // 4), some

    def _pairs(self, neighbours: Tensor, into: Tensor, first: int, last: int) -> None:
        some = neighbours[2 * first : 2 * last].contiguous(memory_format=torch.channels_last)
        found = functions.conv2d(some, self.turned, self.bias, padding=1)
        self._finish(torch.maximum(found[0::2], found[1::2]), into[first:last])

    def _tiles(self, planes: Tensor, into: Tensor, first: int, last: int) -> None:
        sums = _sums(_between(planes, 4 * first - 1, 4 * last + 1))
        # The second sum is part of all four planes alike, and so brings the bias to them.
        found = [
            functions.conv2d(one, weight, self.bias if at == 1 else None, padding=1)
            for at, (one, weight) in enumerate(zip(sums, self.turned, strict=True))
        ]
        four = _outputs(found)
        if self.pooled:
            four = [torch.maximum(four[0], four[1]), torch.maximum(four[2], four[3])]
        for at, values in enumerate(four):
            self._finish(values, into[len(four) * first + at :: len(four)][: len(values)])

    def _finish(self, planes: Tensor, into: Tensor) -> None:
        """Pool planes (M, C, J, K) within themselves, rectify them, and write as many as there is room for."""
        planes = planes[: len(into)]
        if self.pooled:
            height, width = (2 * length for length in into.shape[2:])
            planes = torch.maximum(planes[:, :, 0:height:2], planes[:, :, 1:height:2])
            planes = torch.maximum(planes[..., 0:width:2], planes[..., 1:width:2])
        if self.rectified:
            torch.clamp_min(planes, 0, out=into)
        else:
            into.copy_(planes)


def _in_turn_or_in_threads(work: Callable[[int, int], None], count: int, some: int) -> None:
    """Work through a range in runs, one after the other; where there are many runs, each in one of torch's threads.

    The threads of torch meet after every small step; what else runs on the machine, such as decoding, then holds up
    all of them. Threads that take runs as they come wait for nobody.
    """
    threads = torch.get_num_threads()
    if threads == 1 or count < 2 * threads * some:
        for first in range(0, count, some * threads):
            work(first, min(first + some * threads, count))
        return
    inference = torch.is_inference_mode_enabled()

    def run(first: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(first, min(first + some, count))

    list(_threads(threads, os.getpid()).map(run, range(0, count, some)))


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Threads in which torch uses no others; a process that was forked makes its own."""
    del process
    ready = Barrier(count + 1)

    def alone() -> None:
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="featx-planes")
    for _ in range(count):
        pool.submit(alone)
    ready.wait()
    torch.set_num_threads(count)  # for threads to come: torch gives them what was set last
    return pool


def _between(planes: Tensor, first: int, last: int) -> Tensor:
    """Planes from the first to before the last one; those outside are 0."""
    before, behind = max(-first, 0), max(last - len(planes), 0)
    inside = planes[max(first, 0) : last]
    return functions.pad(inside, (0, 0, 0, 0, 0, 0, before, behind)) if before or behind else inside


def _sums(planes: Tensor) -> list[Tensor]:
    """The six sums of every six planes; tiles start every four planes."""
    tiles = (len(planes) - 2) // 4
    d = [planes[at : at + 4 * tiles - 3 : 4] for at in range(6)]
    far_even, far_odd = torch.sub(d[4], d[2], alpha=4), torch.sub(d[3], d[1], alpha=4)
    even, odd = d[4] - d[2], d[3] - d[1]
    return [
        torch.sub(even, d[2] - d[0], alpha=4),
        far_even + far_odd,
        far_even.sub_(far_odd),
        torch.add(even, odd, alpha=2),
        even.sub_(odd, alpha=2),
        torch.sub(d[5] - d[3], odd, alpha=4),
    ]


def _outputs(found: Sequence[Tensor]) -> list[Tensor]:
    """The four planes of every tile, from what the six sums gave, which is overwritten."""
    near, near_odd = found[1] + found[2], found[1].sub_(found[2])
    far, far_odd = found[3] + found[4], found[3].sub_(found[4])
    return [
        found[0].add_(near).add_(far),
        torch.add(near_odd, far_odd, alpha=2),
        near.add_(far, alpha=4),
        near_odd.add_(far_odd, alpha=8).add_(found[5]),
    ]
