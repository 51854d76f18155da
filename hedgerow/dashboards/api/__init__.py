"""The web server's inside: who may see what (`guard`), what may be asked of the running Hedgerow (`control`), JSON for scripts (`routes`).

`app.create_app` puts it together with the pages. Deliberately absent: settings, files, and everything that decides.
"""
