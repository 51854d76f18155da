"""Sockets with TLS on them: the client's, under a certificate of ours, and those to origins, whose certificates are checked."""
