"""One way to run a request, over gRPC or HTTP."""
