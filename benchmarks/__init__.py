"""Measurements of speed, memory and what they cost; each is a program of its own that writes its results."""

from core import processor

processor.rest_idle_threads()  # as the command line does
