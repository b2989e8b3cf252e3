"""FOLDERS OF PHOTOS -> A DATA SET: every photo is kept, or rejected with a code and a sentence.

Three stages. Each photo by itself, in parallel and resumable (`looking`); all photos together, in one
process and cheap (`judging`); the kept ones into shards, in sorted order (`run`, `export`), and a page
about the others (`telling`).
"""
