"""`python -m adaface`: the same as the command `adaface`."""

from adaface.cli.main import app

if __name__ == "__main__":
    app()
