#!/usr/bin/env python
"""Runs a command of the project: `python manage.py help` lists them."""

from ktrdr_site.cli import main

if __name__ == "__main__":
    main()
