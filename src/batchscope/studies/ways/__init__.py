"""How a study finds what to train next from what is finished: each way in a file of its own."""
