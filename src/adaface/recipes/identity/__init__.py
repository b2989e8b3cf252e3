"""WHAT STAGE 1 IS MADE OF: teachers, their roll-outs, and what is drawn for each sample."""
