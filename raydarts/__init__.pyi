from raydarts.api import Run as Run
from raydarts.api import load_genotype as load_genotype
from raydarts.api import load_network as load_network
from raydarts.api import point as point
from raydarts.api import sweep as sweep

__version__: str
UNINSTALLED: str
PYTHON: tuple[str, ...]
