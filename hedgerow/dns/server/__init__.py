"""How clients reach the resolver: UDP, TCP, TLS, HTTPS and QUIC, and how much each may ask. What is answered is not decided here."""
