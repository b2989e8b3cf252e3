"""OTHERS' FILES -> OURS: pickled and LDM checkpoints, read without running anything of them."""
