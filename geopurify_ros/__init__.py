"""Open-vocabulary voxel mapping, purified with geometric priors.

Every process that uses one of our messages runs this file: it imports nothing heavy.
"""

import logging
import pkgutil

__version__ = "0.1.0"
# A source tree beside an installed package still finds the generated msg and srv modules.
__path__ = pkgutil.extend_path(__path__, __name__)
logging.getLogger(__name__).addHandler(logging.NullHandler())
