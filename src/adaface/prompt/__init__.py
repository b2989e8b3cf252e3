"""PERSON + WORDS -> PROMPT EMBEDDINGS for any diffusers pipeline."""
