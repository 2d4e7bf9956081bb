"""``python -m neuroglancer_scripts``: the same as the command ``neuroglancer-scripts``."""

from __future__ import annotations

import sys

from neuroglancer_scripts.scripts.cli import main

if __name__ == "__main__":
    sys.exit(main())
