"""The parts of the attack, which are also a script (`report.py`), go by their names here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
