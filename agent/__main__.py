"""__main__ — `python -m agent` is the command line. Nothing else."""

from agent.cli import main

main()
