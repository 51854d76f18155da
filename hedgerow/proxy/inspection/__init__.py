"""The inspection lane: decrypted connections, of which each request is judged and each response scanned.

An `Inspector` takes connections from gates. A `ClientHandshake` and then an `InspectedConnection` owns each. A
`LayerDriver` runs mitmproxy's layers for it, unless its `FastPath` suffices. The `InspectionAddon` asks the policy for
each decision.
"""
