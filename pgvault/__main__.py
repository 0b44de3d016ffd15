"""`python -m pgvault` is `pgvault`."""

from pgvault.cli.main import main

if __name__ == "__main__":
    main()
