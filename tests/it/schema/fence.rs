//! Every table is an org's, behind the one fence, or is known not to be.

use super::Lint;

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "every table is fenced by org_id, even from its owner",
        query: "select name, case
                    when kind = 'f' then 'no policy binds a foreign table: hold the rows here'
                    when key is null then 'has no org_id: add one and call tenant_table, or excuse it here and say why'
                    when not fenced then 'its rows are open to every org: call tenant_table, or excuse it here and say why'
                    else 'its owner sees every org: force row level security' end
                from relation
                where kind in ('r', 'p', 'f') and (kind = 'f' or key is null or not fenced or not forced)",
        excused: &[
            ("_sqlx_migrations", "the migrator's own"),
            ("control_counter", "one row for the whole platform"),
            ("control_log", "replicas read it for all orgs; the app role writes it through control_change alone"),
            ("tiers", "plans, the same for everybody"),
            ("tier_versions", "what operators did to the plans"),
            ("users", "a person may be in many orgs; reached through the gate alone"),
            ("credentials", "a person's, not an org's; reached through the gate alone"),
            ("sessions", "a person's, not an org's; reached through the gate alone"),
            ("refresh_tokens", "asked before an org is known; reached through the gate alone"),
            ("api_key_secrets", "asked before an org is known; reached through the gate alone"),
        ],
        faults: &[
            ("create table planted (id uuid primary key)", "planted"),
            ("create table planted (org_id uuid primary key references orgs)", "planted"),
            ("alter table products disable row level security", "products"),
            ("alter table products no force row level security", "products"),
            ("create foreign data wrapper w; create server s foreign data wrapper w;
              create foreign table planted (org_id uuid) server s", "planted"),
            // Whoever may read a part of a table reads it by the part's own policies, which are none.
            ("create table whole (org_id uuid) partition by hash (org_id); select tenant_table('whole');
              create table part partition of whole for values with (modulus 1, remainder 0)", "part"),
        ],
    },
    Lint {
        rule: "the app role passes each fence by one policy, to read and to write",
        query: "select t.name, 'insula_app needs one policy here and has ' || count(p.oid)
                    || ': several permit what any of them permits; leave the one of tenant_table'
                from tenant t
                left join pg_policy p on p.polrelid = t.oid and p.polroles @> array['insula_app'::regrole::oid]
                group by t.name having count(p.oid) <> 1",
        excused: &[],
        faults: &[
            ("drop policy tenant on products", "products"),
            ("create policy planted on products to insula_app using (false)", "products"),
            ("create table planted (org_id uuid primary key);
              alter table planted enable row level security, force row level security", "planted"),
        ],
    },
    Lint {
        rule: "the policy of the app role is the template, to the letter",
        query: "select t.name, format('its policy %I says %s using (%s) with check (%s), where the template says %s: \
                                       let tenant_table write it', p.polname, p.polcmd, reads, writes, template)
                from tenant t
                join pg_policy p on p.polrelid = t.oid and p.polroles @> array['insula_app'::regrole::oid]
                join pg_attribute a on a.attrelid = t.oid and a.attnum = t.key,
                pg_get_expr(p.polqual, t.oid) reads,
                pg_get_expr(p.polwithcheck, t.oid) writes,
                format('(%I = (current_setting(''app.org_id''::text))::uuid)', a.attname) template
                where not p.polpermissive or p.polcmd <> '*'
                    or reads is distinct from template or writes is distinct from template",
        excused: &[],
        faults: &[
            ("alter policy tenant on products using (true)", "products"),
            ("alter policy tenant on products with check (true)", "products"),
            // A function in its place could do anything, and an unset org that is null is no error.
            ("alter policy tenant on products using (org_id = current_setting('app.org_id', true)::uuid)", "products"),
            ("alter policy own_org on orgs using (sandbox_of = current_setting('app.org_id')::uuid)", "orgs"),
            ("drop policy tenant on products; create policy tenant on products to insula_app
              using (org_id = current_setting('app.org_id')::uuid)", "products"),
            ("drop policy tenant on products; create policy tenant on products for select to insula_app
              using (org_id = current_setting('app.org_id')::uuid)", "products"),
            ("drop policy tenant on products; create policy tenant on products as restrictive to insula_app
              using (org_id = current_setting('app.org_id')::uuid)
              with check (org_id = current_setting('app.org_id')::uuid)", "products"),
        ],
    },
    Lint {
        rule: "a policy is for one role by name: insula_app or insula_platform",
        query: "select format('%s on %s', polname, polrelid::regclass),
                    'is for ' || array(select case role when 0 then 'public' else role::regrole::text end
                                       from unnest(polroles) role)::text
                    || ': write one policy for each role that needs it, `to` that role'
                from pg_policy
                where not polroles <@ array['insula_app'::regrole::oid, 'insula_platform'::regrole]
                    or cardinality(polroles) <> 1",
        excused: &[],
        faults: &[
            ("create policy planted on products using (true)", "planted on products"),
            ("create policy planted on users to public using (true)", "planted on users"),
            ("create policy planted on products to insula_owner using (true)", "planted on products"),
            ("create policy planted on products to insula_app, insula_platform using (true)", "planted on products"),
        ],
    },
    Lint {
        rule: "an org's rows are closed to the platform role",
        query: "select t.name, 'insula_platform sees the rows of every org here: drop its policy, \
                    or excuse it here and say who needs it'
                from tenant t
                where exists (select from pg_policy
                              where polrelid = t.oid and polroles @> array['insula_platform'::regrole::oid])",
        excused: &[
            ("orgs", "operators list and found them"),
            ("org_control", "operators set tier and status"),
            ("members", "the gate asks which orgs a person is in"),
            ("api_keys", "the gate asks where a key leads"),
            ("idempotency_keys", "the worker sweeps what is a day old"),
        ],
        faults: &[("select platform_access('products', 'select')", "products")],
    },
];
