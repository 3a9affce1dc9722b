"""The gradient noise scale: how many examples make the gradient's signal as large as its noise."""
