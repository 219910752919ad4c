//! Keys and indexes: an org comes first in all of them, so none tells of another's rows or plans beyond its own.

use super::Lint;

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "org_id is a uuid and never null",
        query: "select t.name, 'make its org_id `uuid not null`: a row of no org is nobody''s to see or delete'
                from tenant t join pg_attribute a on a.attrelid = t.oid and a.attnum = t.key
                where not a.attnotnull or a.atttypid <> 'uuid'::regtype",
        excused: &[],
        faults: &[
            ("create table planted (org_id uuid); select tenant_table('planted')", "planted"),
            ("alter table products alter sku type varchar; alter table order_numbers drop constraint order_numbers_pkey;
              alter table order_numbers alter org_id drop not null", "order_numbers"),
        ],
    },
    Lint {
        rule: "every tenant table has a primary key",
        query: "select name, 'has no primary key: make it (org_id, ..)' from tenant t
                where not exists (select from pg_index where indrelid = t.oid and indisprimary)",
        excused: &[],
        faults: &[("create table planted (org_id uuid not null); select tenant_table('planted')", "planted")],
    },
    Lint {
        rule: "org_id is the first column of every key and index",
        query: "select i.indexrelid::regclass::text, case
                    when i.indisunique
                    then 'is unique across orgs, so \"taken\" tells one org of another''s row: put org_id first'
                    else 'begins with another column than org_id, and no tenant''s query can use it well: put org_id first' end
                from tenant t join pg_index i on i.indrelid = t.oid
                where i.indkey[0] <> t.key",
        excused: &[
            ("members_by_user", "the gate asks which orgs a person is in"),
            ("orgs_slug_key", "slugs are one namespace, and sign-up says so"),
            ("orgs_sandbox_of_key", "an org has one sandbox; only the gate looks for it"),
        ],
        faults: &[
            ("create index planted on products (sku, org_id)", "planted"),
            ("create unique index planted on products (sku)", "planted"),
            ("create index planted on products ((org_id::text), sku)", "planted"),
            ("alter table products add constraint planted unique (sku)", "planted"),
            ("alter table products add constraint planted exclude (sku with =)", "planted"),
            ("create table planted (id uuid primary key, org_id uuid not null); select tenant_table('planted')",
             "planted_pkey"),
        ],
    },
    Lint {
        rule: "a foreign key to a tenant table pairs org with org",
        query: "select f.conname::text, format('its check ignores row-level security, so a row of %s may point at \
                    another org''s in %s: pair org_id with %I in it', s.name, t.name, a.attname)
                from pg_constraint f
                join relation s on s.oid = f.conrelid
                join tenant t on t.oid = f.confrelid
                join pg_attribute a on a.attrelid = t.oid and a.attnum = t.key
                where f.contype = 'f' and not exists (
                    select from unnest(f.conkey, f.confkey) as pair (here, there)
                    where here = s.key and there = t.key
                )",
        excused: &[("orgs_sandbox_of_fkey", "an org points at its sandbox, which is another org by design")],
        faults: &[
            ("create unique index on products (id);
              alter table order_lines add constraint planted foreign key (product_id) references products (id)", "planted"),
            ("create unique index on products (id, org_id); alter table order_lines add constraint planted
              foreign key (org_id, product_id) references products (id, org_id)", "planted"),
            ("alter table order_lines add constraint planted foreign key (product_id) references orgs", "planted"),
            ("create unique index on products (id); alter table sessions add product uuid
              constraint planted references products (id)", "planted"),
        ],
    },
    Lint {
        // Else Postgres must filter by org before it may ask the operator, and the index past org_id is idle.
        rule: "every operator of an index on a tenant table is leakproof",
        query: "select distinct i.indexrelid::regclass::text, format('under row-level security it can''t serve %s of %s: \
                    use text, uuid, bool, int, bigint or timestamptz (text with a check for an enum, bigint for money, \
                    a definer function that answers ids for search)', o.oid::regoperator, t.name)
                from tenant t
                join pg_index i on i.indrelid = t.oid,
                unnest(i.indclass) class
                join pg_opclass k on k.oid = class
                join pg_am m on m.oid = k.opcmethod
                join pg_amop a on a.amopfamily = k.opcfamily
                    and (m.amname not in ('btree', 'hash')
                         or (a.amoplefttype = k.opcintype and a.amoprighttype = k.opcintype))
                join pg_operator o on o.oid = a.amopopr
                join pg_proc p on p.oid = o.oprcode
                where not p.proleakproof",
        excused: &[],
        faults: &[
            ("alter table products add weight numeric; create index planted on products (org_id, weight)", "planted"),
            ("create index planted on members (org_id, roles)", "planted"),
            ("create index planted on products using gin (metadata)", "planted"),
            ("create type mood as enum ('glad'); alter table orders add mood mood;
              create index planted on orders (org_id, mood)", "planted"),
        ],
    },
    Lint {
        rule: "an index on a tenant table holds columns, not expressions",
        query: "select i.indexrelid::regclass::text, 'row-level security lets it serve only leakproof functions, and \
                    most are not (lower is not): store what you look for in a column of its own'
                from tenant t join pg_index i on i.indrelid = t.oid
                where i.indexprs is not null",
        excused: &[],
        faults: &[("create index planted on members (org_id, lower(email))", "planted")],
    },
    Lint {
        rule: "nothing is numbered by a sequence",
        query: "select name, 'its numbers tell one org how much the others do: uuid v7 ids from crate::ids, \
                    or a locked row of the org like order_numbers'
                from relation where kind = 'S'",
        excused: &[],
        faults: &[
            ("create table planted (id bigserial primary key)", "planted_id_seq"),
            ("alter table products add n bigint generated always as identity", "products_n_seq"),
            ("create sequence planted", "planted"),
        ],
    },
];
