"""One recipe a model: what it trains on, and one step."""
