"""The verbs of the `llmcf` command, by what they are about; `llmcf/cli.py` puts them together."""
