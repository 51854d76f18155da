"""JSON API for scripts, under /api/v1.

Each module adds the routes of one subject to the router of `schema.api_router`.
"""
