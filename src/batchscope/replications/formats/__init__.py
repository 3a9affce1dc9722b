"""The files that published data come in, read without trusting them."""
