"""What people see and change: metrics for admins, an API for scripts, pages for parents.

Nouns: `Metrics` (the table of all metrics, and their exposition) · `Control` (what may be asked of the running Hedgerow; `app` implements
it) · `RouteGuard` (who may see which page) · `create_app` (everything put together). Deliberately absent: any decision of its own, any
request to the outside, any script a page would need.
"""
