"""The way of a picture round the generator: sample before it, condition it, compose after it."""
