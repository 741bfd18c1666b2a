"""`python -m llmlab` is the command `llmlab`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
