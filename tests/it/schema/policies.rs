//! Who sees which rows: one policy for the app role, the same everywhere, and the platform's by name.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "each tenant table has one policy for the app role",
        query: "
            select t.name, format('has %s policies that let insula_app in, and permissive ones add up: '
                'leave the one of tenant_table()', count(p.oid))
            from tenant_tables t
            left join pg_policy p on p.polrelid = t.oid and p.polpermissive
                and p.polroles && array['insula_app'::regrole::oid, 0]
            group by t.name having count(p.oid) <> 1",
        exceptions: &[],
        faults: &[
            Fault { plant: "drop policy tenant on products", caught: "products" },
            Fault {
                plant: "create policy generous on products for select to insula_app using (is_active)",
                caught: "products",
            },
            Fault { plant: "create policy generous on products using (true)", caught: "products" },
        ],
    },
    Lint {
        // Pinned to the letter, so that no policy can come to depend on a function of any kind.
        rule: "the app role's policies say that rows are of the org that is set, and nothing else",
        query: "
            select format('%s on %s', p.polname, t.name), format('is not `for all using (%1$s) with check (%1$s)` '
                'for insula_app: let tenant_table() write it', wanted)
            from tables t
            join pg_policy p on p.polrelid = t.oid and 'insula_app'::regrole = any (p.polroles),
            -- The orgs themselves are the only rows whose org is their own id.
            lateral (select format('(%s = (current_setting(''app.org_id''::text))::uuid)',
                                   case t.name when 'orgs' then 'id' else 'org_id' end) as wanted) w
            where not p.polpermissive or p.polcmd <> '*'
                or pg_get_expr(p.polqual, t.oid) is distinct from wanted
                or pg_get_expr(p.polwithcheck, t.oid) is distinct from wanted",
        exceptions: &[],
        faults: &[
            // Of no org, no rows: an unset org would go unnoticed.
            Fault {
                plant: "alter policy tenant on products using (org_id = current_setting('app.org_id', true)::uuid)",
                caught: "tenant on products",
            },
            Fault { plant: "alter policy tenant on products with check (true)", caught: "tenant on products" },
            Fault { plant: "alter policy own_org on orgs using (true)", caught: "own_org on orgs" },
            Fault {
                plant: "create function here() returns uuid language sql as \
                            'select current_setting(''app.org_id'')::uuid'; \
                        alter policy tenant on products using (org_id = here()) with check (org_id = here())",
                caught: "tenant on products",
            },
            Fault {
                plant: "drop policy tenant on products; create policy tenant on products for select to insula_app \
                        using (org_id = current_setting('app.org_id')::uuid)",
                caught: "tenant on products",
            },
        ],
    },
    Lint {
        rule: "every policy is for one role that it names",
        query: "
            select format('%s on %s', p.polname, t.name), 'is for others than insula_app, or insula_platform by '
                'platform_access(): policies add up, so say who needs it and why in the exceptions'
            from tables t join pg_policy p on p.polrelid = t.oid
            where p.polroles <> array['insula_app'::regrole::oid]
              and (p.polroles, p.polname) is distinct from (array['insula_platform'::regrole::oid], 'platform')",
        exceptions: &[(
            "search on products",
            "filters nothing, so that the index can be used: search_products takes the org that is set",
        )],
        faults: &[
            Fault { plant: "create policy everybody on products using (true)", caught: "everybody on products" },
            Fault {
                plant: "create policy shared on products to insula_app, insula_platform using (true)",
                caught: "shared on products",
            },
            Fault {
                plant: "create policy migration on products to insula_owner using (true)",
                caught: "migration on products",
            },
            Fault {
                plant: "create policy support on products to insula_platform using (true)",
                caught: "support on products",
            },
        ],
    },
];
