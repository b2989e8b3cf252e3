"""Models on disk: fetched, converted, taken apart, checked."""
