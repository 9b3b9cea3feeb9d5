"""`python -m howto100m` is the command `howto100m`."""

from howto100m.cli import main

main()
