"""``python -m fusion`` is the command ``fusion``."""

from .core.cli import main

if __name__ == "__main__":
    main()
