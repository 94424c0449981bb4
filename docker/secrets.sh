#!/bin/sh
# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
#
# Make the secrets of the instances, by default those of compose.yaml, in the
# folder "secrets" beside this file.  What is there already is kept.
set -eu
cd "${TRYCOTON_FOLDER:-$(dirname "$0")}"
[ $# -gt 0 ] || set -- trust community garden workshop
mkdir -p secrets
# Nobody else enters the folder; the files are mounted one by one in the
# containers, whose users are not this one
chmod 700 secrets

make() {
    [ ! -e "secrets/$1" ] || return 0
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' > "secrets/$1"
    chmod 444 "secrets/$1"
    echo "secrets/$1"
}

make postgres
for name; do
    case "$name" in
        [!a-z]*|*[!a-z0-9_]*)
            echo "not of lower case letters, digits and _: $name" >&2
            exit 2 ;;
    esac
    make "${name}_database"
    make "${name}_admin"
    make "${name}_key"
done
