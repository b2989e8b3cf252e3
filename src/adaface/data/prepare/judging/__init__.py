"""WHAT WAS SEEN -> WHAT IS KEPT: all photos together, in one process."""
