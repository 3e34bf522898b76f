"""The Watchword agent: finds the client certificate, proves its key, streams signed evidence."""
