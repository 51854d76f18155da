#!/bin/sh
# The command line of the installed Hedgerow. Called by root, it runs as the service's user with the service's two capabilities, so that no
# file in the state directory ever belongs to root.
program=/opt/hedgerow/bin/hedgerow
if [ "$(id -u)" = 0 ] && getent passwd hedgerow >/dev/null; then
    rights=+net_admin,+net_bind_service
    # Files that are named are those of the folder in which the command was given, if not by a path from the root.
    named=hedgerow.yaml
    for word in "$@"; do case ${word#*=} in /*) ;; *) [ ! -f "${word#*=}" ] || named=${word#*=} ;; esac; done
    [ -d /etc/hedgerow ] && [ ! -e "$named" ] && cd /etc/hedgerow
    exec env HOME=/var/lib/hedgerow XDG_STATE_HOME=/var/lib \
        setpriv --reuid=hedgerow --regid=hedgerow --init-groups --inh-caps="$rights" --ambient-caps="$rights" -- "$program" "$@"
fi
exec "$program" "$@"
