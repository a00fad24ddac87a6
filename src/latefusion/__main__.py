"""`python -m latefusion`."""

from latefusion.cli import main

main()
