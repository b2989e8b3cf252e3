"""NETWORK -> STACK: what a user with a GPU runs once: fetch, convert, write a stack, check it by drawing."""
