//! What the roles are and may: none of them is above the fence, and the app role sees nothing but tenant tables.

use super::Lint;

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "no role of ours stands above row-level security",
        query: "select rolname::text, 'it could pass or reshape every fence: alter role .. nosuperuser nobypassrls \
                    nocreaterole nocreatedb noreplication'
                from pg_roles
                where rolname like 'insula\\_%'
                    and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)",
        excused: &[],
        faults: &[
            ("alter role insula_app bypassrls", "insula_app"),
            ("alter role insula_platform superuser", "insula_platform"),
            ("alter role insula_owner bypassrls", "insula_owner"),
            ("alter role insula_app createrole", "insula_app"),
            ("create role insula_planted bypassrls", "insula_planted"),
        ],
    },
    Lint {
        rule: "no role of ours may become another",
        query: "select format('%s in %s', member::regrole, roleid::regrole),
                    'what the one may the other may, by a mere `set role`: revoke it'
                from pg_auth_members
                where member::regrole::text like 'insula\\_%'",
        excused: &[("insula_owner in insula_platform", "a migration moves data and hands over the gate as that role")],
        faults: &[
            ("grant insula_owner to insula_app", "insula_app in insula_owner"),
            ("grant insula_platform to insula_app", "insula_app in insula_platform"),
            ("grant pg_read_all_data to insula_platform", "insula_platform in pg_read_all_data"),
        ],
    },
    Lint {
        rule: "the roles that serve own nothing but the gate",
        query: "select pg_describe_object(classid, objid, objsubid), format('belongs to %s, and an owner may lift the \
                    fence from it: alter .. owner to insula_owner', refobjid::regrole)
                from pg_shdepend
                left join routine on classid = 'pg_proc'::regclass and routine.oid = objid
                where deptype = 'o' and refclassid = 'pg_authid'::regclass
                    and dbid = (select oid from pg_database where datname = current_database())
                    and (refobjid = 'insula_app'::regrole
                         or refobjid = 'insula_platform'::regrole
                            and (short is null or not (short like 'gate\\_%' or short = 'found_org')))",
        excused: &[],
        faults: &[
            ("alter table products owner to insula_app", "table products"),
            ("alter table users owner to insula_platform", "table users"),
            ("alter function gate_user owner to insula_app", "function gate_user(uuid)"),
            ("alter function control_change owner to insula_platform", "function control_change(text,uuid,uuid)"),
            ("create schema planted authorization insula_platform", "schema planted"),
        ],
    },
    Lint {
        rule: "the roles that serve create nothing",
        query: "select format('%s in %s', role, place), 'it could put objects of its own before ours: revoke create'
                from (values ('insula_app'), ('insula_platform')) serving (role),
                lateral (
                    select 'schema ' || nspname from pg_namespace where has_schema_privilege(role, oid, 'create')
                    union all
                    select 'the database' where has_database_privilege(role, current_database(), 'create')
                ) found (place)
                where place !~ '^schema pg_(toast_)?temp_'",
        excused: &[],
        faults: &[
            ("grant create on schema public to insula_app", "insula_app in schema public"),
            ("grant create on schema public to public", "insula_platform in schema public"),
            ("create schema planted; grant create on schema planted to insula_platform", "insula_platform in schema planted"),
            ("do $$ begin execute format('grant create on database %I to insula_app', current_database()); end $$",
             "insula_app in the database"),
        ],
    },
    Lint {
        rule: "the app role has tenant tables and nothing else",
        query: "select format('%s on %s', lower(privilege), name), 'insula_app may do this to what is no org''s, beyond \
                    every fence: revoke it and ask through a gate function'
                from relation,
                unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
                where kind <> 'S' and oid not in (select oid from tenant)
                    and (has_table_privilege('insula_app', oid, privilege)
                         or privilege <> 'DELETE' and has_any_column_privilege('insula_app', oid, privilege))",
        excused: &[("select on tiers", "plans, the same for everybody")],
        faults: &[
            ("grant select on users to insula_app", "select on users"),
            ("grant select (password_hash) on credentials to insula_app", "select on credentials"),
            ("grant update on sessions to public", "update on sessions"),
            ("grant insert on refresh_tokens to insula_app", "insert on refresh_tokens"),
            ("grant delete on api_key_secrets to insula_app", "delete on api_key_secrets"),
            ("grant update (n) on control_counter to insula_app", "update on control_counter"),
            ("grant select on control_log to insula_app", "select on control_log"),
            ("grant update on tiers to insula_app", "update on tiers"),
            ("create view planted as select * from users; grant select on planted to insula_app", "select on planted"),
        ],
    },
    Lint {
        rule: "the roles that serve have no privilege that row-level security does not bind",
        query: "select format('%s of %s on %s', lower(privilege), role, name),
                    'policies do not hold for it: revoke it; select, insert, update and delete are all a server needs'
                from relation, (values ('insula_app'), ('insula_platform')) serving (role),
                unnest(array['TRUNCATE', 'REFERENCES', 'TRIGGER']) privilege
                where kind <> 'S'
                    and (has_table_privilege(role, oid, privilege)
                         or privilege = 'REFERENCES' and has_any_column_privilege(role, oid, privilege))",
        excused: &[],
        faults: &[
            ("grant truncate on products to insula_app", "truncate of insula_app on products"),
            ("grant references (id) on products to insula_app", "references of insula_app on products"),
            ("grant trigger on orders to insula_platform", "trigger of insula_platform on orders"),
            ("grant all on products to public", "truncate of insula_app on products"),
        ],
    },
    Lint {
        rule: "tables are granted to insula_app and insula_platform by name, and to nobody else",
        query: "select distinct name, 'is granted to ' || case grantee when 0 then 'public' else grantee::regrole::text end
                    || ': revoke it, and grant what is needed to the role that needs it'
                from (
                    select name, owner, grantee from relation, aclexplode(acl)
                    union all
                    select name, owner, grantee from relation join pg_attribute on attrelid = oid, aclexplode(attacl)
                ) granted
                where grantee not in (owner, 'insula_app'::regrole, 'insula_platform'::regrole)",
        excused: &[],
        faults: &[
            ("grant select on products to public", "products"),
            ("grant select (name) on members to public", "members"),
            ("create role insula_planted; grant select on orders to insula_planted", "orders"),
        ],
    },
];
