"""Which device the tests of this folder run on."""

import os

DEVICE = os.environ.get("FEATCLI_TEST_DEVICE", "cuda")
ON_CUDA = DEVICE.startswith("cuda")
