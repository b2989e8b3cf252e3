"""FACE -> MORE THAN WHO: which pixels are the person, how old, man or woman; only the preparation of data
asks.
"""
