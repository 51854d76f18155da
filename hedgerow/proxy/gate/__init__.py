"""The proxy's front door, up to a refusal, a tunnel, or a connection that is handed to the inspector.

Nothing is decrypted here.
"""
