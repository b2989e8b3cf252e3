"""PICTURES -> SCORES: every score is told in its column's definition; models are opened once a run."""
