#!/bin/sh
# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
#
# What the entry point of the image of PostgreSQL does for us: it makes the
# cluster on the first start, with the password of a file
set -eu
data=/var/lib/postgresql/data
if [ "$1" = postgres ]; then
    if [ ! -s "$data/PG_VERSION" ]; then
        # shellcheck disable=SC2086
        initdb -D "$data" -U postgres --pwfile="$POSTGRES_PASSWORD_FILE" \
            $POSTGRES_INITDB_ARGS
        echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    fi
    exec postgres -D "$data" -c "listen_addresses=*"
fi
exec "$@"
