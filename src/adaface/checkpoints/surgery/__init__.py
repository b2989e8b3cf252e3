"""CHECKPOINTS -> A CHECKPOINT: models swapped, averaged and taken out, a tensor at a time."""
