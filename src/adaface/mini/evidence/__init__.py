"""WHAT EACH PART GIVES: encoders side by side on the same people, prompts and seeds; ablations of recipes."""
