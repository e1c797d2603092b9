"""The parts of the search, which are also a script (`search_nestings.py`), go by their names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
