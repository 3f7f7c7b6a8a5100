"""Read the weights in a file that Keras saved as HDF5. Needs neither Keras nor torch.

Three forms are in use: ``model.save("x.h5")`` and ``save_weights`` of Keras 2, which name layers and weights in
attributes (the first under the group model_weights), and ``x.weights.h5`` of Keras 3, which names layers alone and
numbers their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featx.errors import WeightsError, first_line

Array = NDArray[np.float32]
Layers = Mapping[str, Mapping[str, Array]]

# What Keras 3 numbers, by how many there are: the weights of dense and convolutional layers, and of batch norms.
_NUMBERED = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}


def read(path: Path) -> Layers:
    """Weights by layer and name, such as ``{"block-0_conv": {"kernel": ..., "bias": ...}}``, as float32.

    Parameters
    ----------
    path : Path
        Of a file .h5, .hdf5 or .weights.h5. Nothing in it is run or unpickled.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or not one that Keras saved.
    """
    try:
        with h5py.File(path, "r") as file:
            layers: dict[str, dict[str, Array]] = {}
            for layer, name, values in _weights(file):
                layers.setdefault(layer, {})[name] = np.asarray(values[()], dtype=np.float32)
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"a file of weights must be HDF5 that Keras saved; {path} is not ({first_line(error)[:120]}); "
            "download it again, or save it with model.save_weights"
        ) from error
    if not layers:
        raise WeightsError(
            f"a file of Keras weights must name layers with weights; {path} names none; save it with "
            "model.save_weights"
        )
    return layers


def _weights(file: Any) -> Iterator[tuple[str, str, Any]]:
    """(layer, weight, data set) of everything in a file."""
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        return _named(root)
    return _numbered(file["layers"]) if "layers" in file else iter(())


def _named(root: Any) -> Iterator[tuple[str, str, Any]]:
    for layer in map(_text, root.attrs["layer_names"]):
        names = [_text(name) for name in root[layer].attrs["weight_names"]]
        places = {name.rpartition("/")[0] for name in names}
        for name in names:
            place, _, weight = name.rpartition("/")
            # a layer that holds layers: each keeps its own name
            yield layer if len(places) == 1 else place, weight.partition(":")[0], root[layer][name]


def _numbered(layers: Any) -> Iterator[tuple[str, str, Any]]:
    found: list[Any] = []
    layers.visititems(lambda name, item: found.append(item) if name.endswith("/vars") else None)
    for group in found:
        if not len(group):
            continue
        if len(group) not in _NUMBERED:
            raise ValueError(f"{group.name} has {len(group)} weights")
        layer = _text(group.attrs.get("name", group.name.split("/")[-2]))
        for at, name in enumerate(_NUMBERED[len(group)]):
            yield layer, name, group[str(at)]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
