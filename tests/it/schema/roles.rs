//! The roles are weak: row-level security binds whoever can't step around it.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "no role of ours is more than a role",
        query: "
            select role, case when oid is null then 'is missing: bootstrap.sql makes it'
                else 'has superuser, bypassrls, createrole, createdb or replication, and with it a way around '
                    'row-level security: take it away in bootstrap.sql' end
            from unnest(array['insula_app', 'insula_platform', 'insula_owner']) role
            left join pg_roles on rolname = role
            where oid is null or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication",
        exceptions: &[],
        faults: &[
            Fault { plant: "reset role; alter role insula_app superuser", caught: "insula_app" },
            Fault { plant: "reset role; alter role insula_platform bypassrls", caught: "insula_platform" },
            Fault { plant: "reset role; alter role insula_owner createrole", caught: "insula_owner" },
            Fault { plant: "reset role; alter role insula_app rename to insula_api", caught: "insula_app" },
        ],
    },
    Lint {
        rule: "no role of ours is a member of another",
        query: "
            select format('%s in %s', member::regrole, roleid::regrole),
                   'inherits all that the other role may do: grant it what it needs by itself'
            from pg_auth_members where member::regrole::text like 'insula\\_%'",
        exceptions: &[(
            "insula_owner in insula_platform",
            "migrations move rows as the platform role: under forced row-level security the owner sees none",
        )],
        faults: &[
            Fault {
                plant: "reset role; grant insula_platform to insula_app",
                caught: "insula_app in insula_platform",
            },
            Fault {
                plant: "reset role; grant pg_read_all_data to insula_platform",
                caught: "insula_platform in pg_read_all_data",
            },
        ],
    },
    Lint {
        rule: "the serving roles own nothing that holds rows",
        query: "
            select r.name, format('is owned by %s, which could lift its fence: `alter table .. owner to insula_owner`',
                                  role)
            from relations r join servants on role = r.relowner::regrole::text
            union all
            select f.name, 'is owned by insula_app, which could rewrite it: functions are insula_platform''s'
            from functions f where proowner = 'insula_app'::regrole",
        exceptions: &[],
        faults: &[
            Fault { plant: "reset role; alter table products owner to insula_app", caught: "products" },
            Fault { plant: "reset role; alter table users owner to insula_platform", caught: "users" },
            Fault {
                plant: "reset role; alter function gate_user(uuid) owner to insula_app",
                caught: "gate_user(uuid)",
            },
        ],
    },
    Lint {
        rule: "the serving roles create nothing",
        query: "
            select format('%s in %s', role, place), 'may create there, and what it makes is in everybody''s search '
                'path: revoke create, from public too'
            from servants,
            lateral (
                select 'schema ' || nspname from schemas where has_schema_privilege(role, oid, 'create')
                union all
                select 'the database' where has_database_privilege(role, current_database(), 'create')
            ) places (place)",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "grant create on schema public to insula_app",
                caught: "insula_app in schema public",
            },
            Fault {
                plant: "grant create on schema public to public",
                caught: "insula_platform in schema public",
            },
            Fault {
                plant: "do 'begin execute format(''grant create on database %I to insula_app'', \
                        current_database()); end'",
                caught: "insula_app in the database",
            },
        ],
    },
];
