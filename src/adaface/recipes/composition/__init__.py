"""WHAT A COMPOSITIONAL STEP IS MADE OF: words, four prompts, a start, a teacher's filter, features, terms."""
