"""The mini stack: SD-1.5, Arc2Face and AdaFace in miniature (64x64), trained here on real faces."""
