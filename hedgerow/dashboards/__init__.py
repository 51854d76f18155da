"""Web application: pages for parents, an API for scripts, metrics for admins.

Nouns: `Metrics` (all metrics and their exposition) · `Control` (the running Hedgerow as the web application sees it;
`app` implements it) · `RouteGuard` (access control) · `ScopedRouter` (routes with their access) · `create_app` (the
application). Deliberately absent: filtering decisions, requests to other hosts, and pages that need scripts.
"""
