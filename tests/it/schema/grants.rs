//! What the serving roles may touch at all: the app role nothing that is not fenced, and nobody a whole table at once.

use super::lint::{Fault, Lint};

pub const LINTS: &[Lint] = &[
    Lint {
        rule: "the app role may touch fenced tables only",
        query: "
            select name, 'is not fenced by org_id, and yet insula_app (or public) may touch it: revoke that; '
                'what it needs of it is a gate_ function''s to give'
            from relations r
            where relkind in ('r', 'p', 'f', 'm')
              and oid not in (select oid from tenant_tables where relforcerowsecurity)
              and (has_table_privilege('insula_app', oid, 'delete, truncate, trigger')
                   or has_any_column_privilege('insula_app', oid, 'select, insert, update, references'))",
        exceptions: &[
            ("tiers", "are the plans, which anybody may read of"),
            ("orgs", "are fenced by their own id"),
        ],
        faults: &[
            Fault { plant: "grant select on users to insula_app", caught: "users" },
            Fault { plant: "grant select (email) on users to public", caught: "users" },
            Fault { plant: "grant update (revoked_at) on sessions to insula_app", caught: "sessions" },
            Fault { plant: "grant delete on control_log to insula_app", caught: "control_log" },
            Fault {
                plant: "create materialized view popular as select sku from products; \
                        grant select on popular to insula_app",
                caught: "popular",
            },
        ],
    },
    Lint {
        rule: "what proves a person or runs the platform is out of the app role's reach, fenced or not",
        query: "
            select secret, case when to_regclass(secret) is null
                then 'is gone: write here what took its place'
                else 'is open to insula_app (or public): revoke that; the gate''s functions are the only way to it' end
            from unnest(array['users', 'credentials', 'sessions', 'refresh_tokens', 'api_key_secrets', 'invitation_secrets',
                              'mails', 'mail_tokens', 'totp', 'recovery_codes', 'login_challenges', 'login_failures',
                              'signing_keys', 'event_tickets', 'live_processes', 'live_connections',
                              'control_counter', 'control_log', 'tier_versions', 'recorded_decisions', 'simulations',
                              'simulation_outcomes']) secret
            where to_regclass(secret) is null
               or has_table_privilege('insula_app', secret, 'delete, truncate, trigger')
               or has_any_column_privilege('insula_app', secret, 'select, insert, update, references')",
        exceptions: &[],
        faults: &[
            Fault {
                plant: "select tenant_table('refresh_tokens')",
                caught: "refresh_tokens",
            },
            Fault { plant: "grant select (hash) on api_key_secrets to public", caught: "api_key_secrets" },
            Fault { plant: "alter table credentials rename to passwords", caught: "credentials" },
        ],
    },
    Lint {
        rule: "an org changes nothing of itself that the platform decides",
        query: "
            select format('%s.%s', t.name, a.attname), 'may be written by insula_app, which would let an org choose '
                'its own tier or status: revoke that'
            from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
            where t.name in ('orgs', 'org_control', 'tiers')
              and has_column_privilege('insula_app', t.oid, a.attnum, 'insert, update')
            union all
            select name, 'may be deleted from by insula_app: revoke that'
            from tables
            where name in ('orgs', 'org_control', 'tiers') and has_table_privilege('insula_app', oid, 'delete')",
        exceptions: &[
            ("org_control.policy_version", "goes up with each change of who may do what, in the change's transaction"),
            ("orgs.name", "is the org's own"),
        ],
        faults: &[
            Fault { plant: "grant update on org_control to insula_app", caught: "org_control.tier" },
            Fault { plant: "grant update (status) on org_control to insula_app", caught: "org_control.status" },
            Fault { plant: "grant insert on orgs to insula_app", caught: "orgs.sandbox_of" },
            Fault { plant: "grant delete on orgs to insula_app", caught: "orgs" },
        ],
    },
    Lint {
        rule: "nobody who serves has a grant that policies do not bind",
        query: "
            select t.name, format('may be truncated, referenced or given triggers by %s, and no policy is asked: '
                'revoke that', role)
            from tables t, servants
            where has_table_privilege(role, t.oid, 'truncate, references, trigger')
               or has_any_column_privilege(role, t.oid, 'references')",
        exceptions: &[],
        faults: &[
            Fault { plant: "grant truncate on products to insula_app", caught: "products" },
            Fault { plant: "grant references (org_id, id) on orders to insula_platform", caught: "orders" },
            Fault { plant: "grant trigger on products to public", caught: "products" },
            Fault { plant: "grant all on products to insula_app", caught: "products" },
        ],
    },
];
