"""``python -m poms.webservice`` is the command ``poms``."""

import sys

from poms.webservice.cli import main

sys.exit(main())
