"""`python -m llmcf` is the `llmcf` command."""

from llmcf.cli import main

main()
