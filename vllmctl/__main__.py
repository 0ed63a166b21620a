"""`python -m vllmctl` is `vllmctl`."""

import sys

from vllmctl.cli import main

sys.exit(main())
