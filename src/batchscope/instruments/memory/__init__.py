"""What a batch takes of the memory, and the largest one that fits."""
