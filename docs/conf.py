"""Settings of Sphinx for `make docs`."""
