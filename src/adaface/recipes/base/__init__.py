"""WHAT RECIPES SHARE: models and photos opened, samples read ahead, grids drawn, the result written."""
