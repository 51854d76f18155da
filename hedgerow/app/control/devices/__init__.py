"""Devices of the network: their discovery."""
