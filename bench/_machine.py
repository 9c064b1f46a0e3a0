"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path


def machine() -> Iterator[str]:
    """Describe what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    widest = next((isa for isa in ("avx512f", "avx2") if isa in cpuinfo), "baseline")
    cache = Path("/sys/devices/system/cpu/cpu0/cache")
    caches = [
        f"L{(index / 'level').read_text().strip()} {(index / 'size').read_text().strip()}"
        for index in sorted(cache.glob("index*"))
        if (index / "type").read_text().strip() != "Instruction"
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    parts = [model[1] if model else platform.machine(), f"{os.cpu_count()} cores", widest, *caches]
    parts.append(f"{memory / (1 << 30):.0f} GiB")
    yield f"- Machine: {', '.join(parts)}"
    today = datetime.date.today()
    yield f"- Linux {platform.release()}, Python {platform.python_version()}, {today:%d %B %Y}"
