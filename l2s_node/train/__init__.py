"""Training: pictures or a video in, a world out. It imports nothing here; `loop.run` does the work."""
