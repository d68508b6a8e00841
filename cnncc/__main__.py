"""`python -m cnncc` is `cnncc`."""

from cnncc.cli import main

if __name__ == "__main__":
    main()
