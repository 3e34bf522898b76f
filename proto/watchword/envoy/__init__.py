"""The part of Envoy's external authorization messages that Watchword uses, generated from `ext_authz.proto`."""
