"""`python -m batchscope` is the command `batchscope`."""

from batchscope.cli import main

main()
