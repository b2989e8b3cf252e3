"""The tiny random stack of tests/tiny.py, written once for all rooms that need one."""

from tiny import astronaut, person, personalizer, tiny_stack  # noqa: F401  fixtures
