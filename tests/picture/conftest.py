"""These tests run as the node does: torch on one thread (others may be at work on this machine)."""

from __future__ import annotations

from pictures import one_thread as one_thread
