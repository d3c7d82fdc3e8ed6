"""What the command line sets before it loads numpy and torch, as far as tests need it too: they share the cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
