"""NAME -> FILES: what a user names (a path, a repository of the hub) as files on this machine."""
