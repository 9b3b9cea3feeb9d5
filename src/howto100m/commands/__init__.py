"""The sub-commands, one a stage: parse and call."""
