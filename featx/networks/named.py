"""Networks that are named by a pattern instead of standing in the table.

=============================================  =================================================================
``timm:NAME``                                  a network of timm, on slices (the extra timm)
``file:PATH``                                  a checkpoint that featx wrote, which says itself what it is of
``python:package.module:factory``              a network of one's own, with a recipe
``sliceset:ENCODER/AGGREGATION[/positions]``   a slice set network with an encoder of torchvision
=============================================  =================================================================
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from featx.errors import DependencyError, NetworkError
from featx.networks.described import example, own_sheet, sheet_from
from featx.networks.sheet import Network

TIMM, FILE, OWN, SLICE_SET = "timm:", "file:", "python:", "sliceset:"
PATTERNS = (
    "timm:NAME",
    "file:PATH",
    "python:package.module:factory",
    "sliceset:ENCODER/AGGREGATION[/positions]",
)
FACTORY = "factory"  # weights as a network's own factory sets them
_OWN = re.compile(r"python:([A-Za-z_][\w.]*:[A-Za-z_]\w*)")


def is_pattern(name: str) -> bool:
    """Whether a name follows a pattern.

    Examples
    --------
    >>> is_pattern("timm:resnet10t"), is_pattern("resnet18.imagenet"), is_pattern("/weights/timm.pth")
    (True, False, False)
    """
    return name.startswith((TIMM, FILE, OWN, SLICE_SET))


def usual_weights(name: str) -> str:
    """The weights of a network if none are asked for.

    Examples
    --------
    >>> usual_weights("file:/runs/7/best.safetensors"), usual_weights("python:nets:make"), usual_weights("timm:vgg11")
    ('/runs/7/best.safetensors', 'factory', 'official')
    """
    if name.startswith(FILE):
        return name.removeprefix(FILE)
    return FACTORY if name.startswith(OWN) else "official"


def find_named(name: str, recipe: Mapping[str, Any] | None = None) -> Network:
    """The sheet of a network that is named by a pattern.

    Parameters
    ----------
    recipe : mapping, optional
        Of a network of one's own: facts such as `featx.networks.described.read_recipe` gives.

    Raises
    ------
    NetworkError
        There is no such network, or its recipe is missing or wrong.
    WeightsError
        A file that featx did not write.
    DependencyError
        What it needs is not installed.
    """
    if name.startswith(OWN):
        return _own(name, recipe)
    if name.startswith(FILE):
        return _of_file(name)
    if name.startswith(TIMM):
        return _of_timm(name)
    from featx.networks.table.gupta import describe_set

    return describe_set(name)


def _own(name: str, recipe: Mapping[str, Any] | None) -> Network:
    match = _OWN.fullmatch(name)
    if match is None:
        raise NetworkError(
            f"a network of your own must be named python:package.module:factory; got {name!r}; name a function that "
            "gives a torch module"
        )
    if recipe is None:
        raise NetworkError(
            f"a network of your own must come with a recipe; {name} has none; give --recipe FILE.toml, with such as: "
            f"{example()}"
        )
    return own_sheet(recipe, name, match[1])


def code_sha256(factory: str) -> str:
    """sha256 of the code of a factory, "" where it cannot be imported.

    It is that of the module that the factory is named in and, where that is another one of the same package, of the
    one that defines it. Code that these import is not in it.

    Parameters
    ----------
    factory : str
        "module:callable".
    """
    module, _, name = factory.partition(":")
    try:
        defined = str(getattr(getattr(importlib.import_module(module), name), "__module__", None) or module)
    except (ImportError, AttributeError):  # the sentence is `featx.networks.architectures.own`'s to say
        return ""
    here = [module, *([defined] if defined.partition(".")[0] == module.partition(".")[0] else [])]
    files = [getattr(sys.modules.get(one), "__file__", None) or "" for one in dict.fromkeys(here)]
    total = hashlib.sha256()
    for path in map(Path, files):
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def _of_file(name: str) -> Network:
    try:
        from featx.networks.checkpoint import read_facts
    except ImportError as error:
        raise _lacks(name, error) from error
    path = Path(name.removeprefix(FILE))
    facts = read_facts(path)
    called = facts.get("name")
    if not isinstance(called, str):
        raise NetworkError(f"a checkpoint must say the name of its network; {path} says {called!r}; write it again")
    # what stands in the file are its weights: nobody publishes others under the name that it says
    return replace(sheet_from(facts, called), weights=None)


def _of_timm(name: str) -> Network:
    try:
        from featx.networks.architectures.timm import describe
    except ImportError as error:
        raise _lacks(name, error) from error
    return describe(name.removeprefix(TIMM))


def _lacks(name: str, error: ImportError) -> DependencyError:
    extras = "torch,timm" if name.startswith(TIMM) else "torch"
    return DependencyError(
        f"the sheet of {name} must be read with torch; {error.name} is not there; run pip install 'featx[{extras}]'"
    )
