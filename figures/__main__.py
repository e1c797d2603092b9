import sys

from dsf.figures.runner.runner import main

sys.exit(main())
