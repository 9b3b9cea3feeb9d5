"""The sample world: made up from a seed, behind local stand-ins of both sites."""
