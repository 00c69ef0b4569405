"""`python -m geopurify_ros.cli`."""

import sys

from geopurify_ros.cli import main

sys.exit(main())
