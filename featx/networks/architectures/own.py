"""A user's own network: whatever a factory gives that was named on the command line."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from featx.errors import NetworkError, first_line

# Whatever a factory may stumble over; faults of the interpreter and interrupts are not told as its own.
_ITS_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def build(*, factory: str, **arguments: Any) -> nn.Module:
    """Call a factory, "module:callable", with its arguments.

    Raises
    ------
    NetworkError
        It cannot be imported, it fails, or it gives no torch module.
    """
    module, _, name = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NetworkError(
            f"a network of your own must be importable; {factory} is not ({first_line(error)}); install its package, "
            "or name its folder in PYTHONPATH"
        ) from error
    try:
        network = make(**arguments)
    except _ITS_FAULTS as error:
        raise NetworkError(
            f"a factory must give a network; {factory} failed with {type(error).__name__} ({first_line(error)}) on "
            f"the arguments {arguments}; mend it, or the arguments of its recipe"
        ) from error
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"a factory must give a torch module; {factory} gave {type(network).__name__}; mend it, or name another"
        )
    return network
