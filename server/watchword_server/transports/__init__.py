"""The programs under the doors: grpc.aio and uvicorn. Doors know none of them."""
