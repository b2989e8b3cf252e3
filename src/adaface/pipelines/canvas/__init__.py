"""PICTURES -> PICTURES: what a drawing starts from: a picture, a mask over it, a control image beside it."""
