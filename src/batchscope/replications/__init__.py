"""Published studies of batch size, repeated, and whether their claims hold here."""
