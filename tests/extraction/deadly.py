"""What a worker does in some tests; here, so that the workers load nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from featx.extraction.loading import Need
from featx.extraction.workers import Sent, Slot, load_into_slot
from featx.images.image import Image


def load_or_die(slot: Slot, image: Image, needs: Sequence[Need]) -> Sent:
    """Some images kill who reads them, some only once."""
    once = Path(image.path).parent / f"{image.image_id}.once"
    if image.session_id == "deadly" or (image.session_id == "once" and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return load_into_slot(slot, image, needs)
