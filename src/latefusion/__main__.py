"""`python -m latefusion`."""

from latefusion.cli import main

if __name__ == "__main__":  # else a process that reads photos imports it
    main()
