"""FOLDERS -> RECORDS: photos prepared for training, as shards with an index."""
