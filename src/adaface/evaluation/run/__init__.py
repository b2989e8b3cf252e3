"""PEOPLE x PROMPTS x SEEDS -> PICTURES WITH SCORES: a run in a folder, which goes on where it was stopped."""
