"""Mosaic's streaming, without its part for pictures: torchvision, which it imports, is large."""

from __future__ import annotations

import sys
import types

sys.modules["streaming.vision"] = types.ModuleType("streaming.vision")

from streaming import MDSWriter, StreamingDataLoader, StreamingDataset  # noqa: E402
from streaming.base.partition import get_partitions  # noqa: E402
from streaming.base.shuffle import get_shuffle  # noqa: E402

__all__ = ["MDSWriter", "StreamingDataLoader", "StreamingDataset", "get_partitions", "get_shuffle"]
