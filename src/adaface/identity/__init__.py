"""A PERSON AS A FILE: subject embeddings under a name, with their origin."""
