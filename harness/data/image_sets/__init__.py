"""Sets of images that stay in files, as their publishers or their owners lay them out."""
