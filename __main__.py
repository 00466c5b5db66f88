"""Entry point of ``python -m fusion``, which runs the command ``fusion``."""

from .core.cli import main

if __name__ == "__main__":
    main()
