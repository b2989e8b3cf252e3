"""FACE -> SUBJECT EMBEDDINGS: the ID prompter and the inverse encoder."""
