"""The command line and the progress bars. Needs the ``[cli]`` extra."""
