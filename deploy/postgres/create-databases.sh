#!/bin/sh
# One database for each program, owned by a role of its own that reaches no other. PostgreSQL's image runs
# this when its volume is empty; for a server elsewhere: PGHOST=... PGUSER=... SECRETS=deploy/secrets.
set -eu

for role in airflow mlflow ratchet; do
    export SERVICE_FILE="${SECRETS:-/run/secrets}/postgres_$role"
    # psql reads the password itself: an argument would be seen in the list of processes.
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set role="$role" --dbname postgres <<'SQL'
\set password `sed -n 's/^password=//p' "$SERVICE_FILE"`
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
done
