"""Failures: from a status or an exception to an error and its hint."""
