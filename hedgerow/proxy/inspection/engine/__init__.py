"""HTTP as protocol code: mitmproxy's layers and messages, and our changes to them. No sockets, no clock, no files."""
