"""l2s-node: a real-time "learning to see" instrument. Importing this package loads nothing heavy."""

__version__ = "0.1.0"
