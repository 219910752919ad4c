//! Views, functions, triggers and rules: whatever runs with another's rights is narrow, and known by name.

use super::Lint;

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "a view asks as whoever asks it",
        query: "select name, 'it would read with its owner''s rights: create view .. with (security_invoker = true)'
                from relation
                where kind = 'v' and not exists (
                    select from pg_options_to_table(options)
                    where option_name = 'security_invoker' and option_value::boolean
                )",
        excused: &[],
        faults: &[
            ("create view planted as select * from products", "planted"),
            ("create view planted with (security_invoker = false) as select * from products", "planted"),
            ("create view planted with (security_barrier) as select * from products", "planted"),
        ],
    },
    Lint {
        rule: "there are no materialized views",
        query: "select name, 'no policy binds it, and it holds what its owner saw: make it a tenant table'
                from relation where kind = 'm'",
        excused: &[],
        faults: &[("create materialized view planted as select * from products", "planted")],
    },
    Lint {
        rule: "only the gate runs with another's rights",
        query: "select name, 'is security definer: make it security invoker, or a gate_ function that `tenancy/gate.rs` calls'
                from routine
                where definer and not (short like 'gate\\_%' or short in ('found_org', 'control_change'))",
        excused: &[],
        faults: &[
            ("create function planted() returns int language sql security definer as 'select 1'", "planted()"),
            ("alter function tenant_table security definer", "tenant_table(regclass)"),
        ],
    },
    Lint {
        // A path that leaves pg_temp out begins with it: the caller's temporary tables would be taken for ours.
        rule: "what runs with another's rights finds our tables and nobody else's",
        query: "select name, 'set search_path = pg_catalog, public, pg_temp' from routine
                where definer and not coalesce(settings @> array['search_path=pg_catalog, public, pg_temp'], false)",
        excused: &[],
        faults: &[
            ("alter function gate_user reset search_path", "gate_user(uuid)"),
            ("alter function gate_user set search_path = pg_catalog, public", "gate_user(uuid)"),
            ("alter function gate_user set search_path = public, pg_catalog, pg_temp", "gate_user(uuid)"),
        ],
    },
    Lint {
        rule: "what runs with another's rights runs under policies",
        query: "select name, format('runs as %s: alter function .. owner to insula_platform', owner::regrole)
                from routine
                where definer and owner not in ('insula_platform'::regrole, 'insula_owner'::regrole)",
        excused: &[],
        faults: &[
            ("alter function gate_user owner to postgres", "gate_user(uuid)"),
            ("create role planted bypassrls; alter function gate_user owner to planted", "gate_user(uuid)"),
        ],
    },
    Lint {
        rule: "nobody calls a function that was not granted to him by name",
        query: "select name, 'is open to public: revoke execute on function .. from public'
                from routine, aclexplode(acl) where grantee = 0",
        excused: &[],
        faults: &[
            ("grant execute on function gate_user to public", "gate_user(uuid)"),
            ("create function planted() returns int language sql as 'select 1'", "planted()"),
            ("set local role insula_owner; alter default privileges grant execute on functions to public;
              create function planted() returns int language sql as 'select 1'; reset role", "planted()"),
        ],
    },
    Lint {
        rule: "the app role calls the gate and control_change, and no other function of ours",
        query: "select name, 'revoke execute on it from insula_app: what a request may ask before its org is known, \
                    and all that it may ask of the platform, is a gate_ function'
                from routine
                where has_function_privilege('insula_app', oid, 'execute')
                    and not (short like 'gate\\_%' or short = 'control_change')",
        excused: &[],
        faults: &[
            ("grant execute on function found_org to insula_app", "found_org(uuid,text,text,uuid,uuid,text,text)"),
            ("grant execute on function tenant_table to insula_app", "tenant_table(regclass)"),
        ],
    },
    Lint {
        rule: "tables have no triggers and no rules",
        query: "select format('%s on %s', found, name), 'it acts unseen by who reads the statement, and Citus refuses it \
                    on a distributed table: say it in the statement itself'
                from relation, lateral (
                    select tgname from pg_trigger where tgrelid = relation.oid and not tgisinternal
                    union all
                    select rulename from pg_rewrite where ev_class = relation.oid and kind <> 'v' and kind <> 'm'
                ) acting (found)",
        excused: &[],
        faults: &[
            ("create trigger planted before update on products
              for each row execute function suppress_redundant_updates_trigger()", "planted on products"),
            ("create rule planted as on delete to products do instead nothing", "planted on products"),
        ],
    },
];
