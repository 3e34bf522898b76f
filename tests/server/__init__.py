"""The server as attackers and operators meet it: a real `watchword serve`, devices that lie to it over gRPC."""
