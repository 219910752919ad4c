//! The roles are weak: row-level security binds whoever can't step around it.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "no role of ours is more than a role",
        query: "
            select role, case when oid is null then 'is missing: bootstrap.sql makes it'
                else 'has superuser, bypassrls, createrole, createdb or replication, and with it a way around '
                    'row-level security: take it away in bootstrap.sql' end
            from unnest(array['insula_app', 'insula_platform', 'insula_owner', 'insula_search']) role
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
        exceptions: &[
            (
                "insula_owner in insula_platform",
                "migrations move rows as the platform role: under forced row-level security the owner sees none",
            ),
            ("insula_owner in insula_search", "a migration hands the search function over to it"),
        ],
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
        rule: "nobody signs in as the search role, and it reads what search looks through and nothing else",
        query: "
            select 'insula_search', 'may sign in: `alter role insula_search nologin`'
            from pg_roles where rolname = 'insula_search' and rolcanlogin
            union all
            select t.name, 'may be written or read whole by insula_search, whose policy filters nothing: revoke that'
            from tables t
            where has_table_privilege('insula_search', t.oid, 'select, insert, update, delete, truncate')
               or has_any_column_privilege('insula_search', t.oid, 'insert, update')
            union all
            select format('%s.%s', t.name, a.attname), 'may be read by insula_search, and is nothing that is searched '
                'or ranked by: revoke that'
            from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
            where has_column_privilege('insula_search', t.oid, a.attnum, 'select')
              and (t.name <> 'products'
                   or a.attname not in ('org_id', 'id', 'sku', 'name', 'search', 'deleted_at'))",
        exceptions: &[],
        faults: &[
            Fault { plant: "reset role; alter role insula_search login", caught: "insula_search" },
            Fault { plant: "grant select (cost) on products to insula_search", caught: "products.cost" },
            Fault { plant: "grant select (number) on orders to public", caught: "orders.number" },
            Fault { plant: "grant update on categories to insula_search", caught: "categories" },
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
            from functions f where proowner = 'insula_app'::regrole
            union all
            select r.name, 'is owned by insula_search, which is to own the search function alone'
            from relations r where relowner = 'insula_search'::regrole",
        exceptions: &[],
        faults: &[
            Fault { plant: "reset role; alter table products owner to insula_app", caught: "products" },
            Fault { plant: "reset role; alter table users owner to insula_platform", caught: "users" },
            Fault { plant: "reset role; alter table orders owner to insula_search", caught: "orders" },
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
