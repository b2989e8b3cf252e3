"""`adaface evaluate` and `adaface prompts`: what is measured, and with which prompts."""
