"""A small iSCSI target that misbehaves as told; see `__main__` for the program."""
