"""Commands that train: begin, go on, look again."""
