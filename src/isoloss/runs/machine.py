"""What a run ran on: enough to explain its speed, nothing that says whose machine it was.

Never a host name, a user name or a path: a record is meant to be shared.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """Describe this machine in plain words and numbers.

    Returns cpu (model name), cores (logical, that this process may use), threads (that numerical
    work uses), memory_gb (of the machine or its container, whichever is less), gpu (model name,
    or "" without one), system (kernel name and version, architecture).
    """
    return {
        "cpu": _cpu_name(),
        "cores": _cores(),
        "threads": _threads(),
        "memory_gb": _memory_gb(),
        "gpu": _gpu_name(),
        "system": _system(),
    }


def versions() -> dict[str, str]:
    """Return the versions that can change a number: python, numpy, isoloss, torch if loaded."""
    from importlib import metadata  # slow to import, and only a run needs it

    import numpy

    found = {"python": platform.python_version(), "numpy": numpy.__version__}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
    try:
        found["isoloss"] = metadata.version("isoloss")
    except metadata.PackageNotFoundError:
        found["isoloss"] = "not installed"
    return found


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return match[1].strip() if match else platform.machine() or "unknown"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else _cores()


def _memory_gb() -> float:
    sizes: list[int] = []
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit() and int(text) > 0:
            sizes.append(int(text))
    return round(min(sizes) / 2**30, 1) if sizes else 0.0


def _gpu_name() -> str:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ""
    return str(torch.cuda.get_device_name())


def _system() -> str:
    # Only the leading numbers of the kernel's release: what follows is free text.
    release = re.match(r"\d+(?:\.\d+)?", platform.release())
    words = [platform.system(), release[0] if release else "", platform.machine()]
    return " ".join(word for word in words if word)
