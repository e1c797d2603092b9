import sys

from dsf.figures._runner import main

sys.exit(main())
