"""WORDS -> FEATURES: CLIP text encoders run from input embeddings."""
