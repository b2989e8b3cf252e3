"""FOLDERS OF PHOTOS -> A DATA SET: every photo is kept, or rejected with a code and a sentence.

Three stages. Each photo by itself, in parallel and resumable (`look`, `stage`); all photos together, in one
process and cheap (`judge`); the kept ones into shards, in sorted order (`run`).
"""
