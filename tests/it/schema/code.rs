//! What runs with somebody else's rights: views, functions, triggers and rules.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "a view shows what its reader may see, not what its owner may",
        query: "
            select name, 'reads with its owner''s rights: create it `with (security_invoker = true)`'
            from relations r
            where relkind = 'v' and not exists (
                select from pg_options_to_table(r.reloptions)
                where option_name = 'security_invoker' and option_value::boolean
            )",
        exceptions: &[],
        faults: &[
            Fault { plant: "create view popular as select sku from products", caught: "popular" },
            Fault {
                plant: "create view popular with (security_invoker = false) as select sku from products",
                caught: "popular",
            },
        ],
    },
    Lint {
        rule: "no materialized view keeps rows of fenced tables",
        query: ", reads (view, source) as (
                select w.ev_class, d.refobjid
                from pg_rewrite w
                join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class
            ),
            reaches (view, source) as (
                select * from reads
                union
                select above.view, below.source from reaches above join reads below on below.view = above.source
            )
            select distinct r.name, format('keeps rows of %s where no policy is asked: make it a tenant table that '
                'the writing transaction keeps', t.name)
            from relations r
            join reaches on view = r.oid
            join tables t on t.oid = source and t.relrowsecurity
            where r.relkind = 'm'",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "create materialized view popular as select sku from products with no data",
                caught: "popular",
            },
            Fault {
                plant: "create view wanted with (security_invoker = true) as select sku from order_lines; \
                        create materialized view popular as select sku from wanted with no data",
                caught: "popular",
            },
        ],
    },
    Lint {
        rule: "what runs with its owner's rights is the gate or search, pinned to our schema",
        query: "
            select name, case
                when proname = 'search_products' and proowner <> 'insula_search'::regrole
                    then 'searches with more rights than it needs: `owner to insula_search`'
                when proname !~ '^(gate_.*|found_org|control_change|search_products)$'
                    then 'runs with its owner''s rights and is no part of the gate: name it gate_.. if it has to'
                when array_position(proconfig, 'search_path=pg_catalog, public, pg_temp') is null
                    then 'looks names up where its caller says, a temporary table first: '
                         '`set search_path = pg_catalog, public, pg_temp`'
                when rolsuper or rolbypassrls
                    then 'runs as a role that no policy binds: `owner to insula_platform`'
                when proname = 'found_org' and has_function_privilege('insula_app', f.oid, 'execute')
                    then 'makes orgs for anybody, so insula_app must not call it but through gate_register'
            end
            from functions f join pg_roles owner on owner.oid = proowner
            where prosecdef and (
                proname = 'search_products' and proowner <> 'insula_search'::regrole
                or proname !~ '^(gate_.*|found_org|control_change|search_products)$'
                or array_position(proconfig, 'search_path=pg_catalog, public, pg_temp') is null
                or rolsuper or rolbypassrls
                or proname = 'found_org' and has_function_privilege('insula_app', f.oid, 'execute')
            )",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "create function stock_of_all() returns bigint language sql security definer \
                        set search_path = pg_catalog, public, pg_temp as 'select sum(stock) from products'",
                caught: "stock_of_all()",
            },
            Fault {
                plant: "set local role insula_platform; alter function gate_user(uuid) reset search_path",
                caught: "gate_user(uuid)",
            },
            Fault {
                plant: "alter function control_change(text, uuid, uuid) set search_path = pg_catalog, public",
                caught: "control_change(text,uuid,uuid)",
            },
            Fault {
                plant: "reset role; alter function gate_user(uuid) owner to postgres",
                caught: "gate_user(uuid)",
            },
            Fault {
                plant: "reset role; alter function search_products(text, integer) owner to insula_platform",
                caught: "search_products(text,integer)",
            },
            Fault {
                plant: "set local role insula_platform; \
                        grant execute on function found_org(uuid, text, text, uuid, uuid, text, text) to insula_app",
                caught: "found_org(uuid,text,text,uuid,uuid,text,text)",
            },
        ],
    },
    Lint {
        rule: "nobody may call a function that was not granted by name",
        query: "
            select name, 'may be called by anybody: `revoke execute on function .. from public`'
            from functions
            where exists (
                select from aclexplode(coalesce(proacl, acldefault('f', proowner)))
                where grantee = 0 and privilege_type = 'EXECUTE'
            )",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "set local role insula_platform; grant execute on function gate_user(uuid) to public",
                caught: "gate_user(uuid)",
            },
            // The default privileges of the migrations are their owner's.
            Fault {
                plant: "reset role; create function twice(n bigint) returns bigint language sql as 'select 2 * n'",
                caught: "twice(bigint)",
            },
        ],
    },
    Lint {
        rule: "a statement does what it says and no more",
        query: "
            select format('%s on %s', g.tgname, t.name), 'is a trigger: distributed tables have none, so do it in the '
                'statement or in the transaction that changes the row'
            from tenant_tables t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
            union all
            select format('%s on %s', w.rulename, t.name), 'is a rule, and rewrites statements with its owner''s '
                'rights: drop it'
            from tables t join pg_rewrite w on w.ev_class = t.oid",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "create trigger quiet before update on products \
                        for each row execute function suppress_redundant_updates_trigger()",
                caught: "quiet on products",
            },
            Fault {
                plant: "create rule kept as on delete to products do instead nothing",
                caught: "kept on products",
            },
        ],
    },
];
