"""The services of Milvus: requests, replies, and the selection of a service."""
