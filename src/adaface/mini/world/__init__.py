"""The small world: face packs -> composed pictures, captions, words."""
