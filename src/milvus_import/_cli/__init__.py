"""The command line, and the progress bars; needs the ``[cli]`` extra."""
