//! Keys and indexes of tenant tables: the org comes first, goes along everywhere, and every operator is leakproof.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "every key and index of a tenant table starts with org_id",
        query: "
            select i.indexrelid::regclass::text, format('on %s starts with something else than org_id: %s', t.name,
                case when i.indisunique then 'an org would be told \"taken\" because of another org''s row'
                else 'each org''s reads would walk through the others'' rows' end)
            from tenant_tables t join pg_index i on i.indrelid = t.oid
            where i.indkey[0] <> t.org_id
            union all
            select name, 'has no primary key: `primary key (org_id, id)`'
            from tenant_tables t
            where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)",
        exceptions: &[
            ("members_by_user", "\"which orgs is this person in?\" is asked by the gate alone"),
            ("schedules_due", "whose time has come is asked by the worker alone, of all orgs"),
            ("usage_alerts_untold", "what nobody was told of yet is asked by the worker alone, of all orgs"),
            ("jobs_of_all", "is what operators list, over all orgs"),
            ("jobs_of_all_status", "is what operators list, and what is swept, over all orgs"),
            ("jobs_waiting", "is what operators and metrics count, over all orgs"),
        ],
        faults: &[
            Fault {
                plant: "create unique index products_sku_of_all on products (sku)",
                caught: "products_sku_of_all",
            },
            Fault { plant: "create index products_by_id on products (id, org_id)", caught: "products_by_id" },
            Fault {
                plant: "create index products_by_word on products (lower(sku), org_id)",
                caught: "products_by_word",
            },
            Fault {
                plant: "create table leaflets (org_id uuid not null, id uuid primary key); \
                        select tenant_table('leaflets')",
                caught: "leaflets_pkey",
            },
            Fault {
                plant: "create table leaflets (org_id uuid not null); select tenant_table('leaflets')",
                caught: "leaflets",
            },
        ],
    },
    Lint {
        // The check of a foreign key is not bound by row-level security.
        rule: "a foreign key to a tenant table takes the org along",
        query: "
            select format('%s on %s', c.conname, c.conrelid::regclass), format('lets a row point at another org''s '
                'row of %1$s: `foreign key (org_id, ..) references %1$s`', t.name)
            from tenant_tables t
            join pg_constraint c on c.confrelid = t.oid and c.contype = 'f'
            left join tables own on own.oid = c.conrelid
            where not exists (
                select from unnest(c.conkey, c.confkey) pair (here, there)
                where here = own.org_id and there = t.org_id
            )",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "alter table products add unique (id); alter table order_lines add constraint loose \
                        foreign key (product_id) references products (id)",
                caught: "loose on order_lines",
            },
            Fault {
                plant: "alter table orders add buyer uuid, add constraint crossed \
                        foreign key (buyer, id) references orders (org_id, id)",
                caught: "crossed on orders",
            },
            Fault {
                plant: "create table leaflets (id uuid, shop uuid, constraint stray \
                        foreign key (shop, id) references products (org_id, id))",
                caught: "stray on leaflets",
            },
        ],
    },
    Lint {
        // Postgres puts the policy before any operator that might tell of the rows it sees, so before the index.
        rule: "every index of a fenced table can be used under row-level security",
        query: "
            select i.indexrelid::regclass::text, format('on %s has a key whose operators (%s) are not leakproof, so '
                'the app role''s queries can''t use it: use text with a check for an enum, bigint for numeric, a '
                'table of its own for an array, a definer function for search', t.name,
                string_agg(distinct o.oprname, ' '))
            from tables t
            join pg_index i on i.indrelid = t.oid
            cross join unnest(i.indclass::oid[]) key (class)
            join pg_opclass c on c.oid = key.class
            join pg_am m on m.oid = c.opcmethod
            join pg_amop a on a.amopfamily = c.opcfamily
                and (m.amname not in ('btree', 'hash') or (a.amoplefttype, a.amoprighttype) = (c.opcintype, c.opcintype))
            join pg_operator o on o.oid = a.amopopr
            join pg_proc p on p.oid = o.oprcode
            where t.relrowsecurity and not p.proleakproof
            group by 1, t.name
            union all
            select i.indexrelid::regclass::text, format('on %s has an expression for a key, and few functions are '
                'leakproof: keep the value in a column', t.name)
            from tables t join pg_index i on i.indrelid = t.oid
            where t.relrowsecurity and i.indexprs is not null",
        exceptions: &[("products_search", "is read by search_products alone, as a role with a policy that filters nothing")],
        faults: &[
            Fault {
                plant: "create index products_metadata on products using gin (metadata)",
                caught: "products_metadata",
            },
            Fault {
                plant: "create type shade as enum ('light', 'dark'); alter table products add shade shade; \
                        create index products_shade on products (org_id, shade)",
                caught: "products_shade",
            },
            Fault {
                plant: "alter table products add weight numeric; \
                        create index products_weight on products (org_id, weight)",
                caught: "products_weight",
            },
            Fault {
                plant: "create index members_roles on members (org_id, roles)",
                caught: "members_roles",
            },
            Fault {
                plant: "create index products_word on products (org_id, lower(name))",
                caught: "products_word",
            },
        ],
    },
];
