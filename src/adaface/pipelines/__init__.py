"""PROMPT -> IMAGE: a stack of models on disk, and the Personalizer that drives a stock diffusers pipeline
with them.
"""
