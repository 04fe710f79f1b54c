"""Milvus' import messages and typed stubs of their services.

Made by scripts/generate.py: do not edit.
"""
