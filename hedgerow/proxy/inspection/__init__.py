"""The inspection lane: mitmproxy's HTTP layers between a client and its origins, each request judged, each answer watched."""
