"""`python -m isoloss` is the command `isoloss`."""

from isoloss.cli import main

main()
