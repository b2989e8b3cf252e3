"""ONE PHOTO -> WHAT IS SEEN IN IT: each photo by itself, in any process, at any time."""
