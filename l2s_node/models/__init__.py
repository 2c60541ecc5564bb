"""Generators: networks, their files and the engines that run them. Knows nothing of frames and rooms."""
