"""What Milvus offers: its services, their requests and replies, and which of them to call."""
