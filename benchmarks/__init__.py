"""Measurements of speed, memory and what they cost; each is a program of its own that writes its results."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line sets it, before a thread pool is there
