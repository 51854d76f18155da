"""HTTP as it is read and written here: mitmproxy's layers and messages, and what is changed in them. No sockets, no clock, no files."""
