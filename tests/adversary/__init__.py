"""The adversary suite: every lie we know of, each by name, told to a real server over real gRPC, and what came of it."""
