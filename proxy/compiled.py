"""Whether the hot path was compiled when the package was built (setup.py), or is pure Python."""

from pathlib import Path
from typing import Final

from proxy.wire import decode

COMPILED: Final = Path(decode.__file__).suffix != ".py"
