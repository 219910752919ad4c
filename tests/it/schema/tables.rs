//! Every table is fenced by org, or named here with the reason why not.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "every table is fenced, or accounted for",
        query: "
            select name, case
                when relkind = 'f' then 'is a foreign table, which row-level security can''t fence: copy the rows'
                when org_id is null then 'has no org_id: add one and call tenant_table() in its migration, or '
                    'name it in the exceptions with the reason why its rows are no org''s'
                else 'shows the rows of all orgs to whoever may read it: call tenant_table() in its migration'
            end
            from tables
            where relkind = 'f' or org_id is null or not (relrowsecurity and relforcerowsecurity)",
        exceptions: &[
            ("_sqlx_migrations", "is the migrator's own"),
            ("control_counter", "is one number for the whole platform"),
            ("redis_born", "is one moment of the whole platform"),
            ("control_log", "tells every replica of every org's changes, and is read by the platform role alone"),
            ("tiers", "are the same for everybody, and read only for the app role"),
            ("tier_versions", "is the platform's own history"),
            ("limit_accuracy_minutes", "sum up all orgs of a tier; the platform role's alone"),
            ("orgs", "has the org's id as its own, and a policy of its own on that"),
            ("recorded_decisions", "are packed, of many orgs a row; the platform role's alone"),
            ("simulations", "are operators' own; the platform role's alone"),
            ("simulation_outcomes", "compare orgs for operators; the platform role's alone"),
            ("usage_journals", "are of processes, and hold what is asked for in all orgs; the platform role's alone"),
            ("users", "are people, who are members of many orgs; the gate's alone"),
            ("credentials", "are of people; the gate's alone"),
            ("sessions", "are of people; the gate's alone"),
            ("refresh_tokens", "are asked for before the org is known; the gate's alone"),
            ("mails", "go to people, on behalf of an org or of none; the gate's and the worker's alone"),
            ("signing_keys", "are the platform's own; its role's alone"),
            ("totp", "is of people; the gate's alone"),
            ("recovery_codes", "are of people; the gate's alone"),
            ("login_challenges", "are of people who are not signed in yet; the gate's alone"),
            ("login_failures", "are of addresses, whether anybody's or nobody's; the gate's alone"),
            ("mail_tokens", "prove a person; the gate's alone"),
            ("event_tickets", "are asked for before the org is known; the gate's alone"),
            ("live_processes", "are the platform's own; its role's and the gate's alone"),
            ("live_connections", "are counts, of many orgs by process; the platform role's and the gate's alone"),
            ("invitation_secrets", "are asked for before the org is known; the gate's alone"),
            ("api_key_secrets", "are asked for before the org is known; the gate's alone"),
        ],
        faults: &[
            Fault {
                plant: "create table leaflets (org_id uuid, id uuid, primary key (org_id, id))",
                caught: "leaflets",
            },
            Fault { plant: "create table leaflets (id uuid primary key)", caught: "leaflets" },
            Fault { plant: "alter table products disable row level security", caught: "products" },
            Fault { plant: "alter table products no force row level security", caught: "products" },
            Fault {
                plant: "create table leaflets (org_id uuid not null) partition by list (org_id); \
                        select tenant_table('leaflets'); \
                        create table leaflets_rest partition of leaflets default",
                caught: "leaflets_rest",
            },
            Fault {
                plant: "reset role; create foreign data wrapper nowhere; \
                        create server nowhere foreign data wrapper nowhere; \
                        create foreign table leaflets (org_id uuid not null) server nowhere",
                caught: "leaflets",
            },
        ],
    },
    Lint {
        rule: "org_id is a uuid and never null",
        query: "
            select name, 'needs `org_id uuid not null`: a row of no org is one that no policy can judge'
            from tenant_tables where not org_id_is_sound",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "create table leaflets (org_id uuid, id uuid primary key); \
                        select tenant_table('leaflets')",
                caught: "leaflets",
            },
            Fault {
                plant: "create table leaflets (org_id text not null); \
                        alter table leaflets enable row level security",
                caught: "leaflets",
            },
        ],
    },
    Lint {
        rule: "nothing counts across orgs",
        query: "
            select name, 'is a sequence: its gaps tell an org how busy the others are; make ids with crate::ids, '
                'and numbers per org as order_numbers does'
            from relations where relkind = 'S'",
        exceptions: &[],
        faults: &[
            Fault { plant: "create sequence leaflets_printed", caught: "leaflets_printed" },
            Fault { plant: "alter table products add shelf bigserial", caught: "products_shelf_seq" },
            Fault {
                plant: "alter table products add shelf bigint generated always as identity",
                caught: "products_shelf_seq",
            },
        ],
    },
];
