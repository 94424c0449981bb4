#!/bin/sh
# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
#
# Make for each secret NAME_database the role NAME and its database, which
# nobody else may open.  What is there already is kept; the password of the
# role becomes the one of the secret.
set -eu
secrets=${TRYCOTON_SECRETS:-/run/secrets}
if [ -e "$secrets/postgres" ]; then
    PGPASSWORD=$(cat "$secrets/postgres")
    export PGPASSWORD
fi

for SECRET in "$secrets"/*_database; do
    export SECRET
    name=$(basename "$SECRET" _database)
    case "$name" in
        [!a-z]*|*[!a-z0-9_]*)
            echo "no name of a database: $name" >&2
            exit 1 ;;
    esac
    # The password is on no command line
    psql -X -q -t -v ON_ERROR_STOP=1 -v name="$name" -d postgres <<'SQL'
\set password `cat "$SECRET"`
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (
    SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('ALTER ROLE %I PASSWORD %L', :'name', :'password') \gexec
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING %L',
    :'name', :'name', 'UTF8') WHERE NOT EXISTS (
    SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
    echo "the database $name is there"
done
